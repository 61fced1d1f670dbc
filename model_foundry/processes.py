"""The processes of a run that `torchrun` starts, and what they do together.

Everything that writes is done by the first one, *main*; what it finds out, or why it failed, the
others learn from it. So a fault ends all of them with the same exit code, and none waits for ever.

What is exchanged here is small and goes through gloo, whatever the gradients go through.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from model_foundry.errors import FoundryError

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """All processes of a run, as one of them sees them."""

    index: int = 0
    """Which one this is, from 0."""
    number: int = 1
    """How many there are."""
    group: Any = field(default=None, repr=False)
    """What small things are exchanged through, however long the others take; None: there is one
    process."""
    prompt: Any = field(default=None, repr=False)
    """The same for what is due within a step, where a process that does not answer hangs; None:
    `group` serves for that too."""

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
        result, failure = _tried(do) if self.is_main else (None, None)
        told: list[Any] = [result, _portable(failure, self.index)]
        try:
            dist.broadcast_object_list(told, src=0, group=self.group)
        except RuntimeError as lost:
            raise failure or lost from None
        if failure := failure or told[1]:
            raise failure
        return cast(T, told[0])

    def each(self, do: Callable[[], T]) -> T:
        """Do something in every process; what fails in one fails in all.

        Raises:
            What `do` raised in the first process in which it failed.
        """
        if self.group is None:
            return do()
        result, failure = _tried(do)
        try:
            failures = self.gathered(_portable(failure, self.index))
        except RuntimeError as lost:
            raise failure or lost from None
        failures[self.index] = failure  # as it was raised here
        for found in failures:
            if found is not None:
                raise found
        return cast(T, result)

    def main_first(self, do: Callable[[], T]) -> T:
        """Do something in main and, once it is done, in the others, which find what main left.

        Raises:
            What `do` raised in the first process in which it failed.
        """
        if self.group is None:
            return do()
        before = self.each(do if self.is_main else _nothing)
        after = self.each(_nothing if self.is_main else do)
        return cast(T, before if self.is_main else after)

    def any(self, flag: bool) -> bool:
        """Tell whether it is so in any process."""
        return self.sum([float(flag)])[0] > 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all processes, in double precision."""
        if self.group is None:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.prompt or self.group)
        return total.tolist()

    def gathered(self, value: T) -> list[T]:
        """Return the values of all processes, in their order, to each."""
        if self.group is None:
            return [value]
        values: list[Any] = [None] * self.number
        dist.all_gather_object(values, value, group=self.group)
        return values


ALONE = Processes()


def _nothing() -> None:
    return None


def _tried(do: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return do(), None
    except Exception as error:
        return None, error


def _portable(error: Exception | None, index: int) -> Exception | None:
    """Return an error as the other processes raise it.

    Ours travel as they are; one of another package may know no way to be sent.
    """
    if error is None or isinstance(error, FoundryError):
        return error
    reason = " ".join(str(error).split())
    return FoundryError(f"process {index} failed: {type(error).__name__}: {reason}")
