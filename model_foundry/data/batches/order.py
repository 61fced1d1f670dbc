"""The order of blocks, a pure function of seed and position.

The position counts the blocks drawn since the start of the run, so that a run can resume anywhere.
`TrainingOrder` reads all blocks in a new permutation in each pass over the data, and a batch may
contain blocks of two passes; where lengths differ, the blocks of a step can be alike. `StreamOrder`
reads lanes of adjacent blocks side by side, unshuffled.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise, repeat

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from model_foundry.data.batches.examples import Key
from model_foundry.errors import DataError

WINDOW = 100  # steps whose blocks are sorted by length; longer gains little


def permutation(blocks: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of the blocks in one pass over the data."""
    return np.random.default_rng([seed, epoch]).random(blocks).argsort(kind="stable")


def grouped(
    order: NDArray[np.int64],
    lengths: NDArray[np.int64],
    steps: NDArray[np.int64],
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the order of a pass with blocks of similar length in each step.

    Each `WINDOW` steps are sorted by length and dealt to the steps, which are drawn at random; in a
    step blocks ascend in length.

    Args:
        order: (N,) permutation of the blocks.
        lengths: (N,) of the blocks.
        steps: (N,) step of the run that reads each place of the order, ascending.
    """
    windows, drawn = steps // WINDOW, generator.random(steps[-1] - steps[0] + 1)
    ascending = np.lexsort((lengths[order], windows))
    places = np.lexsort((drawn[steps - steps[0]], windows))
    result = np.empty_like(order)
    result[places] = order[ascending]
    return result


@dataclass(frozen=True, kw_only=True)
class BatchSplit:
    """The rows of each step that one rank reads, and their division into micro-batches."""

    micro_batch: int
    """Rows in one forward pass."""
    rows_per_step: int
    """Rows in one optimizer step, over all ranks."""
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        # otherwise the ranks would be at different steps
        assert self.rows_per_step % (self.world_size * self.micro_batch) == 0

    @property
    def rows(self) -> int:
        """Rows of each step that this rank reads."""
        return self.rows_per_step // self.world_size

    @property
    def micro_batches(self) -> int:
        """Forward passes of this rank in each step."""
        return self.rows // self.micro_batch


class Order(Sampler[list[Key]]):
    """The keys of each micro-batch of one rank, from any position, without end.

    A step draws `rows_per_step` consecutive positions. Each rank reads an equal part of them in
    micro-batches, rank 0 the first part.

    Args:
        blocks: number of blocks in the data.
        start: blocks that all ranks have drawn since the start of the run; a multiple of
            `rows_per_step`.
    """

    def __init__(self, blocks: int, share: BatchSplit, *, start: int = 0) -> None:
        self.blocks, self.share, self.start = blocks, share, start

    def __iter__(self) -> Iterator[list[Key]]:
        share = self.share
        for step in count():
            first = self.start + step * share.rows_per_step + share.rank * share.rows
            for position in range(first, first + share.rows, share.micro_batch):
                yield self.keys(position, share.micro_batch)

    @abstractmethod
    def keys(self, position: int, number: int) -> list[Key]:
        """Return `number` keys, starting at a position of the run."""


class TrainingOrder(Order):
    """Every block once in each pass, in an order given by the seed and the pass.

    Args:
        lengths: (N,) of the blocks, by which those of a step are alike; None: they need not be.
    """

    def __init__(
        self,
        blocks: int,
        share: BatchSplit,
        *,
        seed: int,
        start: int = 0,
        lengths: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(blocks, share, start=start)
        self.seed, self.lengths = seed, lengths
        self._epoch, self._permutation = -1, np.zeros(0, np.int64)

    def keys(self, position: int, number: int) -> list[Key]:
        keys: list[Key] = []
        while len(keys) < number:
            epoch, place = divmod(position + len(keys), self.blocks)
            if epoch != self._epoch:
                self._epoch, self._permutation = epoch, self._order(epoch)
            drawn = self._permutation[place : place + number - len(keys)]
            keys += zip(repeat(epoch), drawn.tolist(), strict=False)
        return keys

    def _order(self, epoch: int) -> NDArray[np.int64]:
        order = permutation(self.blocks, self.seed, epoch)
        if self.lengths is None:
            return order
        positions = epoch * self.blocks + np.arange(self.blocks)
        generator = np.random.default_rng([self.seed, epoch, 1])
        return grouped(order, self.lengths, positions // self.share.rows_per_step, generator)


def lanes(blocks: int, number: int) -> list[range]:
    """Split all blocks into contiguous lanes; the first lanes may be one block longer."""
    length, longer = divmod(blocks, number)
    starts = [lane * length + min(lane, longer) for lane in range(number + 1)]
    return [range(*ends) for ends in pairwise(starts)]


def usable_blocks(blocks: int, *, rows_per_step: int) -> int:
    """Return the number of blocks that a pass over streams reads; the last blocks are left out.

    Raises:
        DataError: there are fewer blocks than rows in a step.
    """
    if blocks < rows_per_step:
        raise DataError(
            f"data.packing: 'streams' needs a block for each of the {rows_per_step} rows of a "
            f"step, and the training text has {blocks}; use more text, or lower "
            "data.max_sequence_length or training.per_device_train_batch_size"
        )
    return blocks - blocks % rows_per_step


class StreamOrder(Order):
    """Rows that continue those of the previous step.

    The blocks form as many contiguous lanes of one length as a step has rows; row r of each step is
    the next block of lane r. Each pass starts at the beginning of the lanes.

    Raises:
        DataError: there are fewer blocks than rows.
    """

    def __init__(self, blocks: int, share: BatchSplit, *, start: int = 0) -> None:
        super().__init__(blocks, share, start=start)
        self.lanes = share.rows_per_step
        self.length = usable_blocks(blocks, rows_per_step=self.lanes) // self.lanes

    @property
    def lane_starts(self) -> frozenset[int]:
        """The first block of each lane."""
        return frozenset(lane * self.length for lane in range(self.lanes))

    def keys(self, position: int, number: int) -> list[Key]:
        step, row = divmod(position, self.lanes)
        epoch, place = divmod(step, self.length)
        # a micro-batch is always within one step
        return [(epoch, lane * self.length + place) for lane in range(row, row + number)]
