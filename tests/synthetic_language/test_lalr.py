"""The parser: grammars that need LALR(1) lookahead, and ambiguous grammars."""

import itertools

import pytest

from model_foundry.errors import ConfigError
from model_foundry.synthetic_language.grammar import Category, Grammar, Rule
from model_foundry.synthetic_language.lalr import Parser

from .chart import inside


def _grammar(rules: dict[str, list[str]]) -> Grammar:
    made = {
        left: tuple(Rule(left, tuple(right.split()), 1 / len(rights), ()) for right in rights)
        for left, rights in rules.items()
    }
    symbols = {symbol for row in made.values() for rule in row for symbol in rule.right}
    return Grammar("S", made, {s: Category((s,), (1.0,)) for s in symbols - made.keys()})


# Not SLR(1): after an opening L, R may follow only where an assignment cannot (Aho et al.).
ASSIGNMENT = {"S": ["L is R", "R"], "L": ["of R", "x"], "R": ["L"]}
ARITHMETIC = {"S": ["S plus T", "T"], "T": ["T times F", "F"], "F": ["x", "open S close"]}
MIRROR = {"S": ["a S a", "b"]}


@pytest.mark.parametrize("rules", [ASSIGNMENT, ARITHMETIC, MIRROR])
def test_all_short_strings_are_accepted_as_by_the_oracle(rules: dict[str, list[str]]) -> None:
    grammar = _grammar(rules)
    parser = Parser(grammar)
    accepted = 0
    for length in range(1, 6):
        for words in itertools.product(sorted(grammar.lexicon), repeat=length):
            derivation = parser.derivation(words)
            count, probability = inside(grammar, list(words))
            assert count == (derivation is not None), words
            if derivation is not None:
                product = 1.0
                for rule in derivation:
                    product *= rule.probability
                assert product == pytest.approx(probability)
                accepted += 1
    assert accepted >= 3


@pytest.mark.parametrize(
    "rules",
    [
        {"S": ["S plus S", "x"]},
        {"S": ["S", "x"]},
        {"S": ["A", "B"], "A": ["x"], "B": ["x"]},
        {"S": ["if S", "if S else S", "x"]},
        {"S": ["x S x", "x"]},  # unambiguous, but needs unlimited lookahead
    ],
)
def test_a_grammar_that_needs_more_than_one_word_of_lookahead_is_refused(
    rules: dict[str, list[str]],
) -> None:
    with pytest.raises(ConfigError, match=r"not LALR\(1\)"):
        Parser(_grammar(rules))


def test_the_oracle_counts_all_derivations() -> None:
    grammar = _grammar({"S": ["S plus S", "x"]})
    words = ["x", "plus", "x", "plus", "x", "plus", "x"]
    assert inside(grammar, words)[0] == 5  # the Catalan number of three joints
