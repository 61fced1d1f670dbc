"""The exact entropy and mean length of an unambiguous probabilistic grammar.

Each is a sum over symbols of (occurrences in a sentence) x (contribution of one occurrence); the
occurrences solve a linear system (Grenander 1967; Chi 1999).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from model_foundry.synthetic_language.grammar import Category, Grammar


@dataclass(frozen=True)
class Entropy:
    """The average information of a sentence, a lower bound on the loss of any model.

    The separator between sentences is not counted: a corpus with one sentence per line has one byte
    more per sentence, and the same nats.
    """

    nats_per_sentence: float
    words_per_sentence: float
    bytes_per_sentence: float
    """UTF-8 bytes with spaces and full stop, without a line end."""

    @property
    def bits_per_word(self) -> float:
        """Bits of a sentence divided by its words; the full stop is not a word of its own."""
        return self.nats_per_sentence / math.log(2) / self.words_per_sentence

    @property
    def bits_per_byte(self) -> float:
        """Bits of a sentence divided by its bytes."""
        return self.nats_per_sentence / math.log(2) / self.bytes_per_sentence


def entropy_of(grammar: Grammar) -> Entropy:
    """Return the entropy of an unambiguous grammar."""
    symbols = sorted(grammar.reachable([grammar.start]))
    start = np.array([float(symbol == grammar.start) for symbol in symbols])
    means = grammar.expected_children(symbols)
    occurrences = np.linalg.solve(np.eye(len(symbols)) - means.T, start)
    nats = words = letters = 0.0
    for symbol, count in zip(symbols, occurrences.tolist(), strict=True):
        if category := grammar.lexicon.get(symbol):
            nats += count * _nats(category.probabilities)
            words += count
            letters += count * _mean_bytes(category)
        else:
            nats += count * _nats(rule.probability for rule in grammar.rules[symbol])
    # Spaces between the words and a full stop: one byte per word.
    return Entropy(nats, words, letters + words)


def _nats(probabilities: Iterable[float]) -> float:
    return -sum(p * math.log(p) for p in probabilities)


def _mean_bytes(category: Category) -> float:
    pairs = zip(category.words, category.probabilities, strict=True)
    return sum(len(word.encode()) * probability for word, probability in pairs)
