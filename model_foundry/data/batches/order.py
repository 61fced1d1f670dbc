"""Which block goes into which batch: a pure function of (seed, position).

Position counts the blocks drawn since the start of the run, so that a run can begin anywhere.
`TrainingOrder` makes each pass over the data a fresh permutation of all blocks, and a batch may
straddle two passes. `StreamOrder` reads lanes of neighbouring blocks side by side, unshuffled.
"""

from abc import abstractmethod
from collections.abc import Iterator
from itertools import count, pairwise, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from model_foundry.errors import DataError

Key = tuple[int, int]  # (pass over the data, index of the block)


def permutation(blocks: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of the blocks in one pass over the data."""
    return np.random.default_rng([seed, epoch]).random(blocks).argsort(kind="stable")


class Order(Sampler[list[Key]]):
    """The keys of each micro-batch of one process of a run, from any position on, without end.

    A step draws `rows_per_step` positions in a row. Each process has one stretch of them, the
    first process the first, and cuts it into its micro-batches.

    Args:
        blocks: number of blocks in the data.
        micro_batch: blocks in one forward pass.
        rows_per_step: blocks in one optimizer step, over all processes.
        start: blocks already drawn since the beginning of the run, by all processes; a multiple of
            `rows_per_step`.
        process: number of this process, from 0.
    """

    def __init__(
        self,
        blocks: int,
        *,
        micro_batch: int,
        rows_per_step: int,
        start: int = 0,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.blocks, self.micro_batch, self.rows_per_step = blocks, micro_batch, rows_per_step
        self.start, self.process = start, process
        self.share, rest = divmod(rows_per_step, processes)
        assert rest == 0 and self.share % micro_batch == 0  # else they were at different steps

    def __iter__(self) -> Iterator[list[Key]]:
        for step in count():
            first = self.start + step * self.rows_per_step + self.process * self.share
            for position in range(first, first + self.share, self.micro_batch):
                yield self.keys(position, self.micro_batch)

    @abstractmethod
    def keys(self, position: int, number: int) -> list[Key]:
        """Return what stands at a position of the run and at those behind it."""


class TrainingOrder(Order):
    """Every block once in each pass, in an order that the seed and the pass decide."""

    def __init__(self, blocks: int, *, seed: int, **place: Any) -> None:
        super().__init__(blocks, **place)
        self.seed = seed
        self._epoch, self._permutation = -1, np.zeros(0, np.int64)

    def keys(self, position: int, number: int) -> list[Key]:
        keys: list[Key] = []
        while len(keys) < number:
            epoch, place = divmod(position + len(keys), self.blocks)
            if epoch != self._epoch:
                self._epoch, self._permutation = epoch, permutation(self.blocks, self.seed, epoch)
            drawn = self._permutation[place : place + number - len(keys)]
            keys += zip(repeat(epoch), drawn.tolist(), strict=False)
        return keys


def lanes(blocks: int, number: int) -> list[range]:
    """Cut all blocks into contiguous lanes, of which the first ones may be longer by one block."""
    length, longer = divmod(blocks, number)
    starts = [lane * length + min(lane, longer) for lane in range(number + 1)]
    return [range(*ends) for ends in pairwise(starts)]


def usable_blocks(blocks: int, *, rows_per_step: int) -> int:
    """Return how many blocks a pass over streams reads; the others at the end are left out.

    Raises:
        DataError: there are fewer blocks than rows, so that some rows would have none.
    """
    if blocks < rows_per_step:
        raise DataError(
            f"data.packing: 'streams' needs a block for each of the {rows_per_step} rows of a "
            f"step, and the training text has {blocks}; use more text, or lower "
            "data.max_sequence_length or training.per_device_train_batch_size"
        )
    return blocks - blocks % rows_per_step


class StreamOrder(Order):
    """Rows that go on where they ended one step before.

    The blocks form as many lanes of neighbours as a step has rows, all of one length; row r of each
    step reads the next block of lane r. A new pass begins each lane anew.

    Raises:
        DataError: there are fewer blocks than rows.
    """

    def __init__(self, blocks: int, **place: Any) -> None:
        super().__init__(blocks, **place)
        usable = usable_blocks(blocks, rows_per_step=self.rows_per_step)
        self.length = usable // self.rows_per_step

    @property
    def lane_starts(self) -> frozenset[int]:
        """The blocks with which lanes begin."""
        return frozenset(row * self.length for row in range(self.rows_per_step))

    def keys(self, position: int, number: int) -> list[Key]:
        step, row = divmod(position, self.rows_per_step)
        epoch, place = divmod(step, self.length)
        # no micro-batch reaches into the next step
        return [(epoch, r * self.length + place) for r in range(row, row + number)]
