"""The order of blocks: each one once, whatever the division of a step."""

from collections.abc import Callable
from functools import partial
from itertools import islice

import numpy as np
import pytest

from model_foundry.data.batches.order import (
    BatchSplit,
    Key,
    Order,
    StreamOrder,
    TrainingOrder,
    lanes,
    permutation,
    usable_blocks,
)
from model_foundry.errors import DataError

LENGTHS = np.random.default_rng(0).integers(1, 20, 29)
ORDERS: dict[str, Callable[..., Order]] = {
    "grouped": partial(TrainingOrder, seed=1, lengths=LENGTHS),
    "shuffled": partial(TrainingOrder, seed=1),
    "streams": StreamOrder,
}


def order(seed: int = 1, start: int = 0, blocks: int = 7) -> list[list[Key]]:
    share = BatchSplit(micro_batch=3, rows_per_step=3)
    sampler = TrainingOrder(blocks, share, seed=seed, start=start)
    return list(islice(sampler, 20))


def steps_of(
    make: Callable[..., Order],
    *,
    micro_batch: int,
    world_size: int = 1,
    steps: int = 9,
    start: int = 0,
) -> list[list[Key]]:
    """Return the keys of each step of a global batch of eight, of all ranks together."""
    each = 8 // world_size // micro_batch
    read: list[list[Key]] = [[] for _ in range(steps)]
    for rank in range(world_size):
        share = BatchSplit(
            micro_batch=micro_batch, rows_per_step=8, rank=rank, world_size=world_size
        )
        sampler = make(29, share, start=start)
        for number, keys in enumerate(islice(sampler, steps * each)):
            read[number // each] += keys
    return read


def test_each_pass_shows_every_block_once_in_another_order() -> None:
    keys = [key for batch in order() for key in batch]
    passes = [[index for epoch, index in keys if epoch == e] for e in range(8)]
    assert all(sorted(indices) == list(range(7)) for indices in passes)
    assert len({tuple(indices) for indices in passes}) > 1


def test_order_is_a_function_of_seed_and_position() -> None:
    assert order() == order()
    assert order() != order(seed=2)
    assert order(start=18)[:10] == order()[6:16]  # six micro-batches of three blocks


def test_permutation_is_the_documented_one() -> None:
    """A change here changes every run that is resumed or repeated: it needs a note in CHANGELOG."""
    assert permutation(8, seed=42, epoch=0).tolist() == [4, 1, 3, 6, 0, 7, 2, 5]


@pytest.mark.parametrize("name", sorted(ORDERS))
@pytest.mark.parametrize(
    "cut",
    [
        {"micro_batch": 2},
        {"micro_batch": 1},
        {"micro_batch": 4, "world_size": 2},
        {"micro_batch": 2, "world_size": 2},
        {"micro_batch": 1, "world_size": 8},
    ],
    ids=str,
)
def test_the_rows_of_a_step_do_not_depend_on_its_division(name: str, cut: dict[str, int]) -> None:
    assert steps_of(ORDERS[name], **cut) == steps_of(ORDERS[name], micro_batch=8)


@pytest.mark.parametrize("name", sorted(ORDERS))
def test_a_run_can_begin_after_any_step(name: str) -> None:
    whole = steps_of(ORDERS[name], micro_batch=4, world_size=2)
    for start in range(8):
        later = steps_of(ORDERS[name], micro_batch=4, world_size=2, start=8 * start, steps=1)
        assert later == whole[start : start + 1]


# --- groups of similar length ---------------------------------------------------------------------


def grouped_steps(lengths: np.ndarray, *, steps: int, seed: int = 1) -> list[list[Key]]:
    share = BatchSplit(micro_batch=16, rows_per_step=16)
    order = TrainingOrder(len(lengths), share, seed=seed, lengths=lengths)
    return list(islice(order, steps))


def test_the_rows_of_a_step_are_alike_in_every_pass_and_steps_are_not_sorted() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 1000)  # 62.5 steps in a pass
    read = [lengths[[i for _, i in keys]] for keys in grouped_steps(lengths, steps=187)]
    padded = sum(16 * int(step.max()) for step in read) / sum(int(step.sum()) for step in read)
    assert padded < 1.08  # 1.9 in random order
    longest = [int(step.max()) for step in read]
    rises = np.mean(np.diff(longest) > 0)
    assert 0.4 < rises < 0.6
    assert sum(bool((np.diff(step) < 0).any()) for step in read) <= 3  # steps of two passes


def test_a_pass_in_groups_has_every_block_once_and_another_composition_than_the_next() -> None:
    lengths = np.ones(1000, np.int64)
    keys = [key for step in grouped_steps(lengths, steps=125) for key in step]
    first, second = ([index for epoch, index in keys if epoch == e] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(1000))
    assert first != second
    assert set(first[:16]) != set(second[:16])


# --- streams --------------------------------------------------------------------------------------


def test_streams_of_one_worked_example() -> None:
    """Eleven blocks for three rows: lanes 0-2, 3-5 and 6-8; blocks 9 and 10 are left out."""
    sampler = StreamOrder(11, BatchSplit(micro_batch=3, rows_per_step=3))
    assert list(islice(sampler, 4)) == [
        [(0, 0), (0, 3), (0, 6)],
        [(0, 1), (0, 4), (0, 7)],
        [(0, 2), (0, 5), (0, 8)],
        [(1, 0), (1, 3), (1, 6)],
    ]
    assert sampler.lane_starts == {0, 3, 6}
    assert usable_blocks(11, rows_per_step=3) == 9


@pytest.mark.parametrize(("blocks", "rows"), [(8, 8), (29, 8), (40, 8), (7, 1), (1, 1)])
def test_each_pass_over_streams_reads_every_block_that_is_usable_once(
    blocks: int, rows: int
) -> None:
    order = StreamOrder(blocks, BatchSplit(micro_batch=rows, rows_per_step=rows))
    keys = [key for batch in islice(order, 3 * (blocks // rows)) for key in batch]
    for epoch in range(3):
        read = sorted(index for e, index in keys if e == epoch)
        assert read == list(range(usable_blocks(blocks, rows_per_step=rows)))


def test_every_row_continues_until_the_pass_ends() -> None:
    for before, after in zip(
        *(steps_of(StreamOrder, micro_batch=2)[i:] for i in (0, 1)), strict=False
    ):
        if before[0][0] == after[0][0]:
            assert after == [(epoch, index + 1) for epoch, index in before]


def test_fewer_blocks_than_rows_are_refused_with_the_remedy() -> None:
    with pytest.raises(DataError, match=r"each of the 8 rows of a step.* has 7; use more text, or"):
        StreamOrder(7, BatchSplit(micro_batch=4, rows_per_step=8))


@pytest.mark.parametrize(("blocks", "number"), [(0, 1), (1, 1), (8, 8), (29, 8), (32, 8), (9, 2)])
def test_lanes_are_neighbours_and_leave_nothing_out(blocks: int, number: int) -> None:
    cut = lanes(blocks, number)
    assert [index for lane in cut for index in lane] == list(range(blocks))
    lengths = [len(lane) for lane in cut]
    assert len(cut) == number and lengths == sorted(lengths, reverse=True)
    assert max(lengths) - min(lengths) <= 1
