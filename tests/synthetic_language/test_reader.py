"""Faults of grammar files, each a line with the field and the rule; weights of rules and words."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model_foundry.errors import ConfigError
from model_foundry.synthetic_language import Language

from .grammars import FIVE_SENTENCES, RECURSIVE

RULES = "    Word: 3\n    very Sentence: 1\n"

FAULTS = {
    "missing section": (FIVE_SENTENCES, "start: Sentence\n", "", "start: Field required"),
    "unknown section": (FIVE_SENTENCES, "start:", "extra: 1\nstart:", "extra: Extra inputs"),
    "missing key": (
        FIVE_SENTENCES,
        "    field: morphology\n",
        "",
        "agreement.field: Field required",
    ),
    "text for a mapping": (
        RECURSIVE,
        "  n: {sg: 1, pl: 1}",
        "  n: sg",
        r"variables\.n: .*got 'sg'",
    ),
    "zero weight": (FIVE_SENTENCES, "Verb[sg]: 1", "Verb[sg]: 0", "greater than 0, got 0"),
    "infinite weight": (FIVE_SENTENCES, "Verb[sg]: 1", "Verb[sg]: .inf", "finite"),
    "truth as weight": (FIVE_SENTENCES, "sg: 1", "sg: true", r"variables\.n\.sg: .*got true"),
    "start without rule": (FIVE_SENTENCES, "start: Sentence", "start: Name", "'Name' has no rule"),
    "undefined symbol": (FIVE_SENTENCES, "Name Verb", "Nobody Verb", "Nobody has neither"),
    "unknown value": (FIVE_SENTENCES, "Verb[sg]", "Verb[dual]", "'dual' is neither a variable"),
    "complement alone": (FIVE_SENTENCES, "Noun[n] Verb[n]: 3", "Verb[!n]: 3", "needs 'n' beside"),
    "value named as variable": (FIVE_SENTENCES, "n: {sg", "sg: {sg", "not also a value"),
    "unreadable symbol": (FIVE_SENTENCES, "Name Verb[sg]", "Name Verb[sg", "cannot read"),
    "feature of a word": (FIVE_SENTENCES, "the Noun[n] Verb[n]: 3", "the[n] Noun[n]: 3", "a word"),
    "word as left side": (RECURSIVE, "  Sentence:\n", "  sentence:\n", "must be one symbol"),
    "missing form": (FIVE_SENTENCES, "mouse/mice", "mouse", r"2 form\(s\)"),
    "word in two places": (FIVE_SENTENCES, "Name: Ann", "Name: runs", "'runs' is also in"),
    "word twice in one": (FIVE_SENTENCES, "Name: Ann", "Name: Ann Ann", "'Ann' is also in"),
    "words that a capital merges": (RECURSIVE, "ja ok", "ok Ok", "'Ok' is also in"),
    "word of a rule in the lexicon": (RECURSIVE, "ja ok", "ja very", "'very' is also in"),
    "word with a full stop": (RECURSIVE, "ja ok", "ja o.k.", "full stop"),
    "category twice": (FIVE_SENTENCES, "Ann", "Ann\n  Verb[sg]: walks", "has words already"),
    "rule twice": (RECURSIVE, "Word: 3", "Word: 3\n    Word: 4", "'Word' is given twice"),
    "rules and words": (RECURSIVE, "Word: ja ok", "Sentence: ja\n  Word: ok", "both rules and"),
    "unreachable symbol": (RECURSIVE, "ja ok", "ja\n  Idle: hm", "Idle is never reached"),
    "unproductive symbol": (
        RECURSIVE,
        RULES,
        "    Word: 3\n    Loop: 1\n  Loop: {very Loop: 1}\n",
        "Loop never",
    ),
    "endless recursion": (
        RECURSIVE,
        RULES,
        "    Word: 1\n    very Sentence Sentence: 1\n",
        "infinite mean length",
    ),
    "two derivations": (
        RECURSIVE,
        RULES,
        "    Word: 3\n    Sentence very Sentence: 1\n",
        r"not LALR\(1\)",
    ),
    "lengths of a pair": (
        FIVE_SENTENCES,
        '"the Noun[n] Verb[!n]"',
        '"the Verb[!n]"',
        "equally many",
    ),
    "pair without contrast": (FIVE_SENTENCES, "Verb[!n]", "Verb[n]", "and differ"),
    "no YAML": (RECURSIVE, "start: Sentence", "start: [", "not valid YAML"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_in_one_line(language_of: Callable[[str], Language], fault: str) -> None:
    text, old, new, message = FAULTS[fault]
    assert old in text
    with pytest.raises(ConfigError, match=rf"grammar\.yaml: .*{message}") as caught:
        language_of(text.replace(old, new))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        Language.from_file(tmp_path / "nowhere.yaml")


def test_a_line_shares_its_weight_among_the_values_it_leaves_open(
    language_of: Callable[[str], Language],
) -> None:
    grammar = language_of(FIVE_SENTENCES.replace("{sg: 1, pl: 1}", "{sg: 3, pl: 1}")).grammar
    probabilities = {rule.right: rule.probability for rule in grammar.rules["Sentence"]}
    assert probabilities == pytest.approx(
        {
            ("the", "Noun[sg]", "Verb[sg]"): 3 / 4 * 3 / 4,
            ("the", "Noun[pl]", "Verb[pl]"): 3 / 4 * 1 / 4,
            ("Name", "Verb[sg]"): 1 / 4,
        }
    )


def test_words_have_zipf_mandelbrot_weights(
    language_of: Callable[[str], Language],
) -> None:
    text = RECURSIVE.replace("exponent: 1, shift: 1", "exponent: 2, shift: 3")
    category = language_of(text.replace("ja ok", "ja ok hm")).grammar.lexicon["Word"]
    weights = [1 / 9, 1 / 16, 1 / 25]
    assert category.words == ("ja", "ok", "hm")
    assert category.probabilities == pytest.approx([w / sum(weights) for w in weights])
