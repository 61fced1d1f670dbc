"""Which block goes into which batch: a pure function of (seed, position).

Position counts the blocks drawn since the start of the run, each pass over the data is a fresh
permutation of all blocks, and a batch may straddle two passes. So a run can begin anywhere, and
nothing but the seed decides what it sees.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

Key = tuple[int, int]  # (pass over the data, index of the block)


def permutation(blocks: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of the blocks in one pass over the data."""
    return np.random.default_rng([seed, epoch]).random(blocks).argsort(kind="stable")


class TrainingOrder(Sampler[list[Key]]):
    """The keys of each micro-batch of a run, from any position on, without end.

    Args:
        blocks: number of blocks in the data.
        micro_batch: blocks in one forward pass.
        start: blocks already drawn since the beginning of the run.
    """

    def __init__(self, blocks: int, *, micro_batch: int, seed: int, start: int = 0) -> None:
        self.blocks, self.seed, self.start = blocks, seed, start
        self.micro_batch = micro_batch
        self._epoch, self._permutation = -1, np.zeros(0, np.int64)

    def __iter__(self) -> Iterator[list[Key]]:
        position = self.start
        while True:
            yield [self._key(position + row) for row in range(self.micro_batch)]
            position += self.micro_batch

    def _key(self, position: int) -> Key:
        epoch, place = divmod(position, self.blocks)
        if epoch != self._epoch:
            self._epoch, self._permutation = epoch, permutation(self.blocks, self.seed, epoch)
        return epoch, int(self._permutation[place])
