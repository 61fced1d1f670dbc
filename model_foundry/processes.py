"""The processes of a run that `torchrun` starts, and what they do together.

Everything that writes is done by the first one, *main*; what it finds out, or why it failed, the
others learn from it. So a fault ends all of them with the same exit code, and none waits for ever.

What is exchanged here is small and goes through gloo, whatever the gradients go through.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

T = TypeVar("T")
PATIENCE = timedelta(days=7)  # main may tokenise for hours while the others wait


@dataclass(frozen=True)
class Processes:
    """All processes of a run, as one of them sees them."""

    index: int = 0
    """Which one this is, from 0."""
    number: int = 1
    """How many there are."""
    group: Any = field(default=None, repr=False)
    """What small things are exchanged through; None: there is one process."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run."""
        return self.index == 0

    def from_main(self, do: Callable[[], T]) -> T:
        """Do something in main only, and return to all what came of it.

        Raises:
            What `do` raised, in every process.
        """
        if self.group is None:
            return do()
        outcome: list[Any] = [None, None]
        if self.is_main:
            try:
                outcome[0] = do()
            except Exception as error:
                outcome[1] = error
        dist.broadcast_object_list(outcome, src=0, group=self.group)
        result, failure = outcome
        if failure is not None:
            raise failure
        return cast(T, result)

    def any(self, flag: bool) -> bool:
        """Tell whether it is so in any process."""
        return self.sum([float(flag)])[0] > 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all processes, in double precision."""
        if self.group is None:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.group)
        return total.tolist()

    def gathered(self, value: T) -> list[T]:
        """Return the values of all processes, in their order, to each."""
        if self.group is None:
            return [value]
        values: list[Any] = [None] * self.number
        dist.all_gather_object(values, value, group=self.group)
        return values


ALONE = Processes()


def launched() -> bool:
    """Tell whether a launcher has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
