"""Minimal pairs from templates: two sentences drawn with the same choices, one ungrammatical.

A template lists symbols that differ in a feature between the good and the bad sentence. Both are
expanded in parallel, by the same line of the grammar and the same lemma. The fields are those of
BLiMP (Warstadt et al. 2020, arXiv:1912.00582).
"""

from bisect import bisect_right
from dataclasses import dataclass

from model_foundry.errors import ConfigError
from model_foundry.synthetic_language.grammar import Grammar
from model_foundry.synthetic_language.sampler import Draw, Sampler, thresholds

WordPair = tuple[list[str], list[str]]
"""The words of the good and of the bad sentence, equally many."""
Template = tuple[tuple[tuple[str, str], ...], ...]
"""The plain forms of a template, one per assignment: (good, bad) symbols in sentence order."""


@dataclass(frozen=True)
class Phenomenon:
    """A grammatical contrast, with the names of BLiMP's fields."""

    name: str
    field: str
    term: str
    templates: tuple[Template, ...]

    @property
    def symbols(self) -> list[str]:
        """All plain symbols of the templates."""
        return [s for t in self.templates for form in t for pair in form for s in pair]


class PairSampler:
    """Draws pairs of word sequences."""

    def __init__(self, grammar: Grammar, sampler: Sampler) -> None:
        self._grammar = grammar
        self._sampler = sampler

    def draw_pair(self, phenomenon: Phenomenon, draw: Draw) -> WordPair | None:
        """Return one pair, or None if the choices drawn have no ungrammatical counterpart.

        Templates are drawn uniformly, and so are the assignments of one, so that a model that
        always prefers one value of a feature gets half of the pairs right.
        """
        template = phenomenon.templates[int(draw() * len(phenomenon.templates))]
        form = template[int(draw() * len(template))]
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
        """Expand two symbols in parallel: equal ones once, ones with different words separately."""
        lexicon, rules = self._grammar.lexicon, self._grammar.rules
        if good == bad:
            words = self._sampler.words(good, draw)
            return words, words
        if good in lexicon and bad in lexicon:
            if good.partition("[")[0] != bad.partition("[")[0]:
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
