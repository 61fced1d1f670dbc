"""The processes of a run that `torchrun` starts, and their collective operations.

Rank 0 writes all files; its results and failures are broadcast, so that a failure ends all
processes with the same exit code. Messages are small and use gloo, independent of the backend of
the gradients.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

import torch
import torch.distributed as dist

from model_foundry.errors import FoundryError
from model_foundry.foundation.messages import reason_of

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class ProcessGroup:
    """All processes of a run, seen from one of them."""

    rank: int = 0
    """Number of this process, from 0."""
    world_size: int = 1
    """Number of processes."""
    group: Any = field(default=None, repr=False)
    """torch process group without a time limit; None: there is one process."""
    prompt: Any = field(default=None, repr=False)
    """torch process group with a time limit, for operations within a step; None: use `group`."""

    @property
    def is_rank0(self) -> bool:
        """True on the rank that writes the run directory."""
        return self.rank == 0

    def on_rank0(self, do: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `do` on rank 0 only; its result or exception reaches every rank."""
        if self.group is None:
            return do(*args, **kwargs)
        call = partial(do, *args, **kwargs)
        result, failure = _tried(call) if self.is_rank0 else (None, None)
        received: list[Any] = [result, _portable(failure, self.rank)]
        try:
            dist.broadcast_object_list(received, src=0, group=self.group)
        except RuntimeError as lost:
            raise failure or lost from None
        if failure := failure or received[1]:
            raise failure
        return cast(T, received[0])

    def on_all_ranks(self, do: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `do` on every rank; the exception of the first rank that fails is raised on all."""
        if self.group is None:
            return do(*args, **kwargs)
        result, failure = _tried(partial(do, *args, **kwargs))
        try:
            failures = self.all_gather(_portable(failure, self.rank))
        except RuntimeError as lost:
            raise failure or lost from None
        failures[self.rank] = failure  # the original, with its traceback
        for found in failures:
            if found is not None:
                raise found
        return cast(T, result)

    def rank0_first(self, do: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `do` on rank 0, then on the others, which find the files that rank 0 wrote."""
        if self.group is None:
            return do(*args, **kwargs)
        call = partial(do, *args, **kwargs)
        before = self.on_all_ranks(call if self.is_rank0 else _nothing)
        after = self.on_all_ranks(_nothing if self.is_rank0 else call)
        return cast(T, before if self.is_rank0 else after)

    def any(self, flag: bool) -> bool:
        """Return True if the flag is set on any rank."""
        return self.sum([float(flag)])[0] > 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all ranks, in double precision."""
        if self.group is None:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.prompt or self.group)
        return total.tolist()

    def all_gather(self, value: T) -> list[T]:
        """Return the values of all ranks, ordered by rank."""
        if self.group is None:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.group)
        return values


ALONE = ProcessGroup()


def _nothing() -> None:
    return None


def _tried(do: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return do(), None
    except Exception as error:
        return None, error


def _portable(error: Exception | None, rank: int) -> Exception | None:
    """Return an exception that can be sent to other processes; a library's may not be picklable."""
    if error is None or isinstance(error, FoundryError):
        return error
    reason = reason_of(error)
    return FoundryError(f"process {rank} failed: {type(error).__name__}: {reason}")
