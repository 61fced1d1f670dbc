"""The micro-batches of each step, prefetched while a GPU still computes the step before.

All processes agree on a step before they take it: a signal or a dead data worker on one of them
stops every process at the same step.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch

from model_foundry.data.batches.loaders import Batch
from model_foundry.errors import Interrupted, WorkerError
from model_foundry.foundation.interrupts import check_interrupt, stop_requested
from model_foundry.foundation.process_group import ALONE, ProcessGroup
from model_foundry.objectives import Objective
from model_foundry.training.profiler.phases import phase


@dataclass(frozen=True, kw_only=True)
class StepBatch:
    """The data of one optimizer step."""

    micro_batches: list[Batch]
    """Those of this process, one per forward pass."""
    own_targets: list[dict[str, int]]
    """Targets of each loss in each micro-batch of this process."""
    targets: dict[str, int]
    """Targets of each loss in all processes."""
    examples: int
    """Examples of all processes."""
    counts: dict[str, int]
    """What these examples hold in all, by unit (tokens, words)."""
    timed_save: bool = False
    """True if the clock of rank 0 asks for a checkpoint after the step."""

    @classmethod
    def of(
        cls, micro_batches: list[Batch], objective: Objective, units: Sequence[str] = ()
    ) -> "StepBatch":
        """Count the micro-batches of a single process, also if there are none."""
        own = [objective.targets(batch.inputs) for batch in micro_batches]
        return cls(
            micro_batches=micro_batches,
            own_targets=own,
            targets={name: sum(each[name] for each in own) for name in objective.losses},
            examples=sum(len(batch.keys) for batch in micro_batches),
            counts={unit: sum(batch.counts[unit] for batch in micro_batches) for unit in units},
        )

    def shared(self, processes: ProcessGroup, *flags: float) -> tuple["StepBatch", list[float]]:
        """Return it with the counts of all processes, and the sums of some flags of each."""
        own = (self.examples, *self.targets.values(), *self.counts.values())
        sums = processes.sum([*own, *flags])
        numbers = iter(map(int, sums))
        everywhere = replace(
            self,
            examples=next(numbers),
            targets=dict(zip(self.targets, numbers, strict=False)),
            counts=dict(zip(self.counts, numbers, strict=False)),
        )
        return everywhere, sums[len(own) :]


class StepBatches:
    """The steps of one process, in order.

    Args:
        batches: endless micro-batches of this process.
        micro_batches: number of micro-batches in a step.
        units: what the counts of the batches count.
        pinned: copy them to memory that a GPU can read directly.
        workers: processes that prepare them, for messages.
        save_is_due: asked on rank 0 before each step; its answer holds for all ranks.
    """

    def __init__(
        self,
        batches: Iterator[Batch],
        objective: Objective,
        *,
        micro_batches: int,
        units: Sequence[str] = (),
        workers: int = 0,
        pinned: bool = False,
        save_is_due: Callable[[], bool] = bool,
        processes: ProcessGroup = ALONE,
    ) -> None:
        self.batches, self.objective, self.micro_batches = batches, objective, micro_batches
        self.units = units
        self.workers, self.pinned, self.processes = workers, pinned, processes
        self.save_is_due = save_is_due
        self._prefetched: list[Batch] | None = None
        self._failure: Exception | None = None

    def prefetch(self) -> None:
        """Load the next step. A failure is raised by `next`."""
        try:
            self._prefetched = self._load()
        except Exception as error:
            self._failure = error

    def next(self) -> StepBatch:
        """Return the next step, once all processes are ready for it.

        Raises:
            WorkerError: a data worker has died or hangs, on this or another process.
            Interrupted: a signal came, to this or another process.
        """
        stopped = stop_requested() is not None
        if self._prefetched is None and self._failure is None and not stopped:
            self.prefetch()
        failure, self._failure = self._failure, None
        if failure is not None and not isinstance(failure, Interrupted | WorkerError):
            raise failure
        own = StepBatch.of(self._prefetched or [], self.objective, self.units)
        self._prefetched = None
        step, (stop, died, save) = own.shared(
            self.processes,
            stopped or isinstance(failure, Interrupted),
            isinstance(failure, WorkerError),
            self.processes.is_rank0 and self.save_is_due(),
        )
        if stop:
            raise Interrupted(f"{stop_requested() or 'a signal'}: stopped")
        if died:
            raise failure or WorkerError(
                f"training.dataloader_num_workers (={self.workers}): a data worker of another "
                "process has died; the message of that process says why"
            )
        return replace(step, timed_save=save > 0)

    def _load(self) -> list[Batch]:
        try:
            with phase("data"):
                loaded = list(islice(self.batches, self.micro_batches))
        except RuntimeError as error:
            if "DataLoader" not in str(error):
                raise
            check_interrupt()
            raise WorkerError(
                f"training.dataloader_num_workers (={self.workers}): "
                f"{' '.join(str(error).split())}; run the same command again to resume, with 0 "
                "workers if it happens again"
            ) from error
        return [_pinned(batch) for batch in loaded] if self.pinned else loaded


def _pinned(batch: Batch) -> Batch:
    return replace(batch, inputs={name: t.pin_memory() for name, t in batch.inputs.items()})


def can_pin(device: torch.device) -> bool:
    """Return True if a device reads pinned memory directly."""
    return device.type == "cuda"
