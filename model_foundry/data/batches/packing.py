"""Packing of documents into rows of limited length, as pure functions of their lengths.

Long documents are cut into spans; spans are packed by best fit over the histogram of their lengths
(Krell et al. 2021, arXiv:2107.02027), which leaves little padding: a million spans take 0.2 s.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.tokens.ranges import Ints


@dataclass(frozen=True)
class Spans:
    """Parts of documents, (S,) each, in the order of the stream."""

    starts: Ints
    """First token, in the stream."""
    sizes: Ints
    """Tokens of the stream."""
    context: Ints
    """Number of first tokens that repeat the end of the previous span."""
    before: NDArray[np.bool_]
    """True if the frame is added before the span."""
    after: NDArray[np.bool_]
    """True if the frame is added after the span."""
    lengths: Ints
    """Tokens of the span in a row, with its frame."""

    def chosen(self, members: Ints) -> "Spans":
        """Return some of the spans."""
        return Spans(*(getattr(self, field.name)[members] for field in fields(self)))


def spans_of(
    document_ends: NDArray[np.uint64],
    *,
    length: int,
    overlap: int,
    before: int,
    after: int,
    framed: tuple[bool, bool],
) -> Spans:
    """Cut the documents that do not fit into a row.

    Args:
        document_ends: (D,) tokens up to the end of each document.
        length: tokens in a row.
        overlap: tokens of a cut document that its next span repeats.
        before, after: tokens of the frame around a span.
        framed: True if the stream already has this frame at the start and end of documents.
    """
    ends = document_ends.astype(np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    sizes = ends - starts
    whole = length - (0 if framed[0] else before) - (0 if framed[1] else after)
    content = length - before - after  # a span within a document has the whole frame
    stride = content - overlap
    counts = np.where(sizes <= whole, 1, np.maximum(-(-(sizes - overlap) // stride), 1))
    document = np.repeat(np.arange(len(sizes)), counts)
    number = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    offset = number * stride
    room = np.where(counts[document] == 1, whole, content)
    span_sizes = np.minimum(sizes[document] - offset, room)
    has_before = np.full(len(document), before > 0)
    has_after = np.full(len(document), after > 0)
    if framed[0]:
        has_before &= number > 0
    if framed[1]:
        has_after &= number < counts[document] - 1
    return Spans(
        starts=starts[document] + offset,
        sizes=span_sizes,
        context=np.where(number > 0, overlap, 0),
        before=has_before,
        after=has_after,
        lengths=span_sizes + before * has_before + after * has_after,
    )


def pack(lengths: Ints, capacity: int) -> tuple[Ints, Ints]:
    """Pack spans into rows by best fit.

    Args:
        lengths: (S,) tokens of each span, each at most `capacity`.

    Returns:
        (S,) the spans in the order of the rows, and (R,) their number up to the end of each row.
    """
    queue = np.argsort(lengths, kind="stable")
    left = np.bincount(lengths)
    taken = np.cumsum(left) - left  # index in the queue of the next span of each length
    order: list[Ints] = [np.zeros(0, np.int64)]
    row_sizes: list[Ints] = [np.zeros(0, np.int64)]
    longest = int(lengths.max(initial=0))
    while True:
        while longest and not left[longest]:
            longest -= 1
        if not longest:
            break
        pattern = _pattern(left, longest, capacity)
        times = min(int(left[size]) // count for size, count in pattern)
        columns = []
        for size, count in pattern:
            members = queue[taken[size] : taken[size] + times * count]
            columns.append(members.reshape(times, count))
            taken[size] += times * count
            left[size] -= times * count
        rows = np.concatenate(columns, axis=1)  # (times, spans in a row)
        order.append(rows.ravel())
        row_sizes.append(np.full(times, rows.shape[1]))
    return np.concatenate(order), np.cumsum(np.concatenate(row_sizes))


def _pattern(left: Ints, longest: int, capacity: int) -> list[tuple[int, int]]:
    """Return (length, count) for one row: the longest span, then always the longest that fits."""
    pattern, room, size = [], capacity, longest
    while room and size:
        count = min(int(left[size]), room // size)
        if count:
            pattern.append((size, count))
            room -= count * size
        size = min(size - 1, room)
    return pattern
