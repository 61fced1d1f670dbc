"""Random words from a grammar, the same on every machine for the same seed."""

import itertools
from bisect import bisect_right
from collections.abc import Callable, Sequence

from numpy.random import PCG64, Generator

from model_foundry.synthetic_language.grammar import Grammar

Draw = Callable[[], float]
"""The next of a stream of uniform random numbers in [0, 1)."""

_BLOCK = 4096


def uniform(seed: int) -> Draw:
    """Return a stream of uniform random numbers that depends on `seed` alone.

    Only `random` is used: its stream is stable across versions of numpy, that of `choice` is not.
    """
    generator = Generator(PCG64(seed))
    blocks = (generator.random(_BLOCK).tolist() for _ in itertools.repeat(None))
    return itertools.chain.from_iterable(blocks).__next__


def thresholds(probabilities: Sequence[float]) -> list[float]:
    """Return the bounds of outcomes: `bisect_right(bounds, u)` is the outcome drawn by u."""
    return list(itertools.accumulate(probabilities))[:-1]


class _Node:
    """A symbol compiled for sampling: an outcome is a word, or nodes in reversed order."""

    __slots__ = ("bounds", "outcomes")

    def __init__(self, probabilities: Sequence[float]) -> None:
        self.bounds = thresholds(probabilities)
        self.outcomes: list[str | tuple[_Node, ...]] = []


class Sampler:
    """Draws the words of a symbol."""

    def __init__(self, grammar: Grammar) -> None:
        self._nodes = {s: _Node(category.probabilities) for s, category in grammar.lexicon.items()}
        for symbol, rules in grammar.rules.items():
            self._nodes[symbol] = _Node([rule.probability for rule in rules])
        for symbol, category in grammar.lexicon.items():
            self._nodes[symbol].outcomes.extend(category.words)
        for symbol, rules in grammar.rules.items():
            self._nodes[symbol].outcomes.extend(
                tuple(self._nodes[child] for child in reversed(rule.right)) for rule in rules
            )

    def words(self, symbol: str, draw: Draw) -> list[str]:
        """Return the words of one expansion of `symbol`."""
        words: list[str] = []
        stack = [self._nodes[symbol]]
        while stack:
            node = stack.pop()
            outcome = node.outcomes[bisect_right(node.bounds, draw()) if node.bounds else 0]
            if isinstance(outcome, str):
                words.append(outcome)
            else:
                stack += outcome
        return words
