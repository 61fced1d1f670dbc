"""An artificial language with exact probabilities: sentences, their entropy, minimal pairs."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from model_foundry.errors import ConfigError
from model_foundry.synthetic_language.entropy import Entropy, entropy_of
from model_foundry.synthetic_language.grammar import Grammar
from model_foundry.synthetic_language.lalr import Parser
from model_foundry.synthetic_language.phenomena import PairSampler, Phenomenon
from model_foundry.synthetic_language.reader import read_language
from model_foundry.synthetic_language.sampler import Sampler, uniform

BUILT_IN = Path(__file__).with_name("english.yaml")

_BARREN_DRAWS = 1000


def spell(words: Sequence[str]) -> str:
    """Return the words as a sentence: a capital first letter, spaces, a full stop."""
    text = " ".join(words)
    return f"{text[0].upper()}{text[1:]}."


class Language:
    """The language of an unambiguous probabilistic grammar."""

    def __init__(self, grammar: Grammar, phenomena: dict[str, Phenomenon]) -> None:
        self.grammar = grammar
        self._phenomena = phenomena
        self._parser = Parser(grammar)
        self._sampler = Sampler(grammar)
        self.entropy: Entropy = entropy_of(grammar)
        self._places = {
            word: (symbol, math.log(probability))
            for symbol, category in grammar.lexicon.items()
            for word, probability in zip(category.words, category.probabilities, strict=True)
        }
        self._openers = {word[0].upper() + word[1:]: word for word in self._places}

    @classmethod
    def from_file(cls, path: str | Path) -> "Language":
        """Read a language from a grammar file; `english.yaml` in this folder explains the format.

        Raises:
            ConfigError: the file is missing or malformed, or its grammar is invalid or ambiguous.
        """
        try:
            return cls(*read_language(Path(path)))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @property
    def phenomena(self) -> tuple[str, ...]:
        """The names of the phenomena of `minimal_pairs`, in the order of the file."""
        return tuple(self._phenomena)

    def sample(self, sentences: int, *, seed: int) -> Iterator[str]:
        """Yield sentences drawn from the grammar.

        The first k sentences depend on `seed` alone, not on the number requested.
        """
        draw, start = uniform(seed), self.grammar.start
        return (spell(self._sampler.words(start, draw)) for _ in range(sentences))

    def log_probability(self, sentence: str) -> float:
        """Return the log-probability of a sentence in nats; -inf for any other text."""
        opener, *others = sentence.removesuffix(".").split(" ")
        words = [self._openers.get(opener, ""), *others]
        if not sentence.endswith(".") or not all(word in self._places for word in words):
            return -math.inf
        categories, spent = zip(*(self._places[word] for word in words), strict=True)
        rules = self._parser.derivation(categories)
        if rules is None:
            return -math.inf
        return math.fsum([*spent, *(math.log(rule.probability) for rule in rules)])

    def accepts(self, sentence: str) -> bool:
        """Return True if the grammar generates exactly `sentence`."""
        return self.log_probability(sentence) > -math.inf

    def minimal_pairs(self, phenomenon: str, *, pairs: int, seed: int) -> list[dict[str, Any]]:
        """Return distinct pairs of an accepted and a rejected sentence, with the fields of BLiMP.

        The first k pairs depend on `seed` alone, not on the number requested.

        Raises:
            ConfigError: the phenomenon is unknown, has fewer pairs than requested, or yields a pair
                of which the grammar accepts both sentences or neither.
        """
        if phenomenon not in self._phenomena:
            raise ConfigError(
                f"phenomenon: unknown name {phenomenon!r}; known: {', '.join(self.phenomena)}."
            )
        definition = self._phenomena[phenomenon]
        sampler, draw = PairSampler(self.grammar, self._sampler), uniform(seed)
        found: dict[str, dict[str, Any]] = {}
        barren = 0
        while len(found) < pairs:
            words = sampler.draw_pair(definition, draw)
            record = words and _blimp_record(definition, *words, number=len(found))
            if record and record["sentence_good"] + record["sentence_bad"] not in found:
                self._check_contrast(record)
                found[record["sentence_good"] + record["sentence_bad"]] = record
                barren = 0
            elif (barren := barren + 1) == _BARREN_DRAWS:
                raise ConfigError(
                    f"phenomenon {phenomenon!r}: no more than {len(found)} distinct pairs found, "
                    f"{pairs} requested; request fewer or extend its definition."
                )
        return list(found.values())

    def _check_contrast(self, record: dict[str, Any]) -> None:
        good, bad = record["sentence_good"], record["sentence_bad"]
        if not self.accepts(good) or self.accepts(bad):
            raise ConfigError(
                f"phenomena.{record['UID']}: the grammar must accept {good!r} and reject {bad!r}; "
                "correct the definition."
            )


def _blimp_record(
    phenomenon: Phenomenon, good: list[str], bad: list[str], *, number: int
) -> dict[str, Any]:
    """Return a pair with the fields of BLiMP's files."""
    critical = next(i for i, (g, b) in enumerate(zip(good, bad, strict=True)) if g != b)
    record: dict[str, Any] = {"sentence_good": spell(good), "sentence_bad": spell(bad)}
    if critical > 0:
        record |= {
            "one_prefix_prefix": spell(good[:critical]).removesuffix("."),
            "one_prefix_word_good": good[critical],
            "one_prefix_word_bad": bad[critical],
        }
    return record | {
        "field": phenomenon.field,
        "linguistics_term": phenomenon.term,
        "UID": phenomenon.name,
        **{"simple_LM_method": True, "one_prefix_method": critical > 0, "two_prefix_method": False},
        "lexically_identical": Counter(good) == Counter(bad),
        "pairID": str(number),
    }


@cache
def load_language() -> Language:
    """Return the built-in English-like language, read once per process."""
    return Language.from_file(BUILT_IN)
