"""Minimal pairs from templates: two sentences made by the same choices, of which one is wrong.

A template lists symbols that differ in a feature between the good and the bad sentence. Both are
expanded in step, by the same line of the grammar and the same lemma. The fields are those of BLiMP
(Warstadt et al. 2020, arXiv:1912.00582).
"""

from bisect import bisect_right
from dataclasses import dataclass

from model_foundry.errors import ConfigError
from model_foundry.synthetic_language.grammar import Grammar
from model_foundry.synthetic_language.sampler import Draw, Sampler, thresholds

WordPair = tuple[list[str], list[str]]
"""The words of the good and of the bad sentence, equally many."""


@dataclass(frozen=True)
class Template:
    """The plain forms of a template, one an assignment: (good, bad) symbols in sentence order."""

    forms: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True)
class Phenomenon:
    """A contrast between right and wrong, with the names that BLiMP's fields give it."""

    name: str
    field: str
    term: str
    templates: tuple[Template, ...]

    @property
    def symbols(self) -> list[str]:
        """Every plain symbol that a template mentions."""
        return [s for t in self.templates for form in t.forms for pair in form for s in pair]


class PairSampler:
    """Draws the two word sequences of a phenomenon."""

    def __init__(self, grammar: Grammar, sampler: Sampler) -> None:
        self._grammar = grammar
        self._sampler = sampler

    def words(self, phenomenon: Phenomenon, draw: Draw) -> WordPair | None:
        """Return one pair, or None when the choices made have no wrong counterpart.

        Templates are drawn evenly, and so are the assignments of one: a model that always prefers
        one value of a feature gets half of the pairs right.
        """
        template = phenomenon.templates[int(draw() * len(phenomenon.templates))]
        form = template.forms[int(draw() * len(template.forms))]
        pair = self._sequence(form, draw)
        return pair if pair and pair[0] != pair[1] else None

    def _sequence(self, symbols: tuple[tuple[str, str], ...], draw: Draw) -> WordPair | None:
        good: list[str] = []
        bad: list[str] = []
        for pair in symbols:
            words = self._expand(*pair, draw)
            if words is None:
                return None
            good += words[0]
            bad += words[1]
        return good, bad

    def _expand(self, good: str, bad: str, draw: Draw) -> WordPair | None:
        """Expand two symbols in step; equal ones once, two that list other words separately."""
        lexicon, rules = self._grammar.lexicon, self._grammar.rules
        if good == bad:
            words = self._sampler.words(good, draw)
            return words, words
        if good in lexicon and bad in lexicon:
            if _name(good) != _name(bad):
                return self._sampler.words(good, draw), self._sampler.words(bad, draw)
            lemma = bisect_right(thresholds(lexicon[good].probabilities), draw())
            return [lexicon[good].words[lemma]], [lexicon[bad].words[lemma]]
        if good in lexicon or bad in lexicon:
            raise ConfigError(
                f"phenomena: {good} and {bad} are at one position, but only one of them has words "
                "of its own; both sentences need equally many words."
            )
        chosen = rules[good][bisect_right(thresholds([r.probability for r in rules[good]]), draw())]
        for rule in rules[bad]:
            if rule.scheme == chosen.scheme:
                return self._sequence(tuple(zip(chosen.right, rule.right, strict=True)), draw)
        return None


def _name(symbol: str) -> str:
    return symbol.partition("[")[0]
