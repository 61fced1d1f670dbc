"""Rows of documents: none too long, nothing twice, nothing lost, nearly full."""

from itertools import permutations

import numpy as np
import pytest

from model_foundry.data.batches.packing import Spans, pack, spans_of

DRAW = np.random.default_rng(0)


def cut(sizes: list[int], **settings: object) -> Spans:
    defaults = {"overlap": 0, "before": 0, "after": 0, "framed": (False, False)}
    ends = np.cumsum(sizes).astype(np.uint64)
    return spans_of(ends, **(defaults | settings))  # type: ignore[arg-type]


def rows_of(lengths: list[int], capacity: int) -> list[list[int]]:
    order, ends = pack(np.array(lengths, dtype=np.int64), capacity)
    return [row.tolist() for row in np.split(order, ends[:-1])] if len(ends) else []


CASES = [
    (length, overlap, before, after, framed)
    for length in (4, 7, 16, 100)
    for overlap in (0, 1, length // 4)
    for before in (0, 1)
    for after in (0, 1)
    for framed in ((False, False), (False, True), (True, True), (True, False))
    if length - before - after > overlap
]


@pytest.mark.parametrize(("length", "overlap", "before", "after", "framed"), CASES)
def test_every_token_is_in_one_span_and_context_is_the_end_of_the_span_before(
    length: int, overlap: int, before: int, after: int, framed: tuple[bool, bool]
) -> None:
    sizes = [1, length, length + 1, 2, 3 * length, *DRAW.integers(1, 5 * length, 40).tolist()]
    spans = cut(sizes, length=length, overlap=overlap, before=before, after=after, framed=framed)
    covered, number = [], 0
    for first, size in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
        at = first
        while at < first + size:
            start, context = int(spans.starts[number]), int(spans.context[number])
            assert start + context == at  # it goes on where the one before ended
            assert context == (0 if at == first else overlap)
            assert context < spans.sizes[number]
            at = start + int(spans.sizes[number])
            covered.extend(range(start + context, at))
            number += 1
        assert at == first + size
    assert number == len(spans.starts)
    assert covered == list(range(sum(sizes)))
    assert spans.lengths.max() <= length and spans.lengths.min() > 0


def test_a_document_has_its_frame_once_and_a_cut_one_around_each_span() -> None:
    # [SEP] ends a document in the stream already: [CLS] is put before it, and no second [SEP]
    spans = cut([5, 9], length=6, before=1, after=1, framed=(False, True))
    assert spans.before.tolist() == [True] * 4
    assert spans.after.tolist() == [False, True, True, False]
    assert spans.starts.tolist() == [0, 5, 9, 13]
    assert spans.sizes.tolist() == [5, 4, 4, 1]
    assert spans.lengths.tolist() == [6, 6, 6, 2]
    nothing = cut([5, 9], length=6, framed=(False, False))
    assert not nothing.before.any() and not nothing.after.any()
    both = cut([3, 9], length=6, before=1, after=1, framed=(True, True))
    assert both.before.tolist() == [False, False, True, True]
    assert both.after.tolist() == [False, True, True, False]


def test_a_document_that_fits_with_the_frame_of_the_stream_is_not_cut() -> None:
    assert len(cut([8], length=8, before=1, after=1, framed=(True, True)).sizes) == 1
    assert len(cut([8], length=8, before=1, after=1, framed=(False, True)).sizes) == 2


def fewest_rows(lengths: list[int], capacity: int) -> int:
    """Put spans in all orders into the first row with room: one order is the best."""
    fewest = len(lengths)
    for order in set(permutations(lengths)):
        room: list[int] = []
        for length in order:
            fits = next((row for row, left in enumerate(room) if left >= length), None)
            if fits is None:
                room.append(capacity - length)
            else:
                room[fits] -= length
        fewest = min(fewest, len(room))
    return fewest


@pytest.mark.parametrize("seed", range(30))
def test_few_spans_take_as_few_rows_as_any_order_finds_or_one_more(seed: int) -> None:
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 11, size=6).tolist()
    assert fewest_rows(lengths, 10) <= len(rows_of(lengths, 10)) <= fewest_rows(lengths, 10) + 1


def test_spans_that_fit_together_share_a_row() -> None:
    assert sorted(map(sorted, rows_of([3, 7, 5, 5, 10], 10))) == [[0, 1], [2, 3], [4]]
    assert rows_of([], 10) == []


@pytest.mark.parametrize("capacity", [64, 512, 2048])
@pytest.mark.parametrize("law", ["uniform", "short", "long tail"])
def test_rows_of_random_spans_are_nearly_full(capacity: int, law: str) -> None:
    draw = np.random.default_rng(capacity)
    lengths = {
        "uniform": draw.integers(1, capacity + 1, 4000),
        "short": draw.integers(1, max(capacity // 8, 3), 4000),
        "long tail": np.minimum(draw.lognormal(3, 1.2, 4000).astype(np.int64) + 1, capacity),
    }[law]
    rows = rows_of(lengths.tolist(), capacity)
    assert sorted(member for row in rows for member in row) == list(range(4000))
    sums = [int(lengths[row].sum()) for row in rows]
    assert max(sums) <= capacity
    assert sum(sums) / (len(rows) * capacity) >= 0.95
    assert rows == rows_of(lengths.tolist(), capacity)


def test_a_row_much_longer_than_its_spans_takes_no_time() -> None:
    lengths = DRAW.integers(1, 300, 3000).tolist()
    rows = rows_of(lengths, 2_000_000)
    assert len(rows) == 1
