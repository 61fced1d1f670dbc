"""Parts of a stream and the frames around them, compared with plain loops."""

import numpy as np
import pytest

from model_foundry.data.batches.columns import Framing, read_stretches
from model_foundry.data.batches.packing import spans_of
from model_foundry.data.tokens.ranges import positions
from model_foundry.data.tokens.token_stream import Sharded

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("sizes", [[], [0], [3], [4, 4, 4], [2, 0, 5], [0, 0], [1, 7, 0]])
def test_positions_count_on_within_each_stretch(sizes: list[int]) -> None:
    starts = DRAW.integers(0, 100, len(sizes))
    expected = [start + at for start, size in zip(starts, sizes, strict=True) for at in range(size)]
    assert positions(starts, np.array(sizes, np.int64)).tolist() == expected


@pytest.mark.parametrize("shards", [1, 2, 7])
@pytest.mark.parametrize("sizes", [[5, 5], [1, 9, 4, 0], [40]])
def test_stretches_are_read_across_shards_and_as_copies(sizes: list[int], shards: int) -> None:
    wide, narrow = np.arange(50, dtype=np.uint16) + 300, np.arange(50, dtype=np.uint8)
    columns = [Sharded(np.array_split(column, shards)) for column in (wide, narrow)]
    starts, lengths = DRAW.integers(0, 10, len(sizes)), np.array(sizes)
    places = positions(starts, lengths)
    for read, column in zip(read_stretches(columns, starts, lengths), (wide, narrow), strict=True):
        assert read.tolist() == column[places].tolist() and read.dtype == column.dtype
        read[:] = 0
    assert wide[0] == 300 and narrow[1] == 1


@pytest.mark.parametrize("framed", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize(("before", "after"), [([], []), ([1], []), ([], [2]), ([1, 3], [2, 4, 5])])
def test_a_frame_is_added_around_spans(
    before: list[int], after: list[int], framed: tuple[bool, bool]
) -> None:
    spans = spans_of(
        np.array([4, 5, 30], np.uint64),
        length=11,
        overlap=0,
        before=len(before),
        after=len(after),
        framed=framed,
    )
    expected: list[int] = []
    for start, size, has_before, has_after in zip(
        spans.starts, spans.sizes, spans.before, spans.after, strict=True
    ):
        expected += [*before * int(has_before), *range(start + 10, start + 10 + size)]
        expected += after * int(has_after)
    framing = Framing(spans, before=np.array(before, int), after=np.array(after, int))
    assert framing.of_ids(np.arange(10, 40)).tolist() == expected
    column = framing.of(np.ones(30, np.uint8), np.bool_)
    assert column.tolist() == [index >= 10 for index in expected] and column.dtype == np.bool_
