"""Counts of the ids of a stream, and the lengths of its documents."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.foundation.interrupts import check_interrupt

STRETCH = 2**18  # tokens that are counted at once; more would not fit into the CPU's cache
BINS = 20  # of the histogram, about
Ints = NDArray[np.int64]
Lengths = NDArray[np.unsignedinteger[Any]]


def _stretches(length: int, start: int = 0) -> Iterator[slice]:
    for first in range(start, length, STRETCH):
        check_interrupt()
        yield slice(first, min(first + STRETCH, length))


def count_ids(stream: TokenStream, vocabulary: int, *, start: int = 0) -> Ints:
    """Count each id, starting at a token, (V,).

    Args:
        vocabulary: one more than the largest id.
    """
    counts = np.zeros(vocabulary, dtype=np.int64)
    for part in _stretches(len(stream), start):
        counts += np.bincount(stream.tokens[part], minlength=vocabulary)
    return counts


def words_in(stream: TokenStream, index: int) -> int:
    """Count the words that begin in tokens with an id."""
    parts = _stretches(len(stream))
    return sum(int(stream.num_words[p][stream.tokens[p] == index].sum()) for p in parts)


def document_lengths(stream: TokenStream) -> Lengths:
    """Return the number of tokens of each document with its frame, (D,)."""
    ends = stream.document_ends
    lengths = np.empty(len(ends), dtype=np.min_scalar_type(len(stream)))
    lengths[0] = ends[0]
    np.subtract(ends[1:], ends[:-1], out=lengths[1:], casting="same_kind")
    return lengths


@dataclass(frozen=True, kw_only=True)
class LengthFigures:
    """Lengths of the documents of a text, in tokens with frames."""

    shortest: int
    median: float
    mean: float
    longest: int
    histogram: list[int]
    """Number of documents from each edge up to the next."""

    @classmethod
    def of(cls, lengths: Lengths, edges: list[int]) -> "LengthFigures":
        """Summarize lengths."""
        return cls(
            shortest=int(lengths.min()),
            median=float(np.median(lengths)),
            mean=float(lengths.mean(dtype=np.float64)),
            longest=int(lengths.max()),
            histogram=np.histogram(lengths, bins=np.array(edges))[0].tolist(),
        )


def length_edges(shortest: int, longest: int) -> list[int]:
    """Return the edges of bins between two lengths, about evenly spaced on a log scale.

    They are integers, and no bin is narrower than the previous one: rounding makes no peaks.
    """
    ratio = ((longest + 1) / shortest) ** (1 / BINS)
    edges = [shortest]
    while edges[-1] <= longest:
        edges.append(edges[-1] + max(1, round(edges[-1] * (ratio - 1))))
    return edges
