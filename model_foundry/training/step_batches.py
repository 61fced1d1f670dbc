"""The micro-batches of the next step, and what the processes tell each other before they take it.

They are drawn while a GPU still computes the step before. What one process meets meanwhile, a
signal or a dead worker, it tells the others first, so that all stop at the same step.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch

from model_foundry.data.batches.loaders import Batch
from model_foundry.errors import Interrupted, WorkerError
from model_foundry.foundation.interrupts import check_interrupt, stop_requested
from model_foundry.foundation.process_group import ALONE, ProcessGroup
from model_foundry.objectives import Objective
from model_foundry.training.profiler.profile import phase
from model_foundry.training.step import Labels


@dataclass(frozen=True)
class StepBatch:
    """What a step is made from."""

    micro_batches: list[Batch]
    """Those of this process."""
    labels: Labels
    blocks: int
    """Rows of all processes."""
    tokens: int
    """Tokens of text in these rows."""
    words: int
    """Words of text in these."""
    saves: bool = False
    """Whether the time has come for a checkpoint after the step."""


class StepBatches:
    """Draws the steps of one process, one after the other.

    Args:
        batches: the micro-batches of this process without end.
        micro_batches: how many a step has.
        pinned: whether to put them where a GPU can fetch them by itself.
        workers: processes that prepare them, for messages.
        time_to_save: tells main whether it is time for a checkpoint; the others follow it.
    """

    def __init__(
        self,
        batches: Iterator[Batch],
        objective: Objective,
        *,
        micro_batches: int,
        workers: int = 0,
        pinned: bool = False,
        time_to_save: Callable[[], bool] = bool,
        processes: ProcessGroup = ALONE,
    ) -> None:
        self.batches, self.objective, self.micro_batches = batches, objective, micro_batches
        self.workers, self.pinned, self.processes = workers, pinned, processes
        self.time_to_save = time_to_save
        self._ahead: list[Batch] | None = None
        self._failure: Exception | None = None

    def ahead(self) -> None:
        """Draw the next step. What fails is told when the step is asked for."""
        try:
            self._ahead = self._draw()
        except Exception as error:
            self._failure = error

    def next(self) -> StepBatch:
        """Return the next step, once all processes are ready for it.

        Raises:
            WorkerError: a process that prepares batches has died or hangs, here or elsewhere.
            Interrupted: a signal came, here or elsewhere.
        """
        stopped = stop_requested() is not None
        if self._ahead is None and self._failure is None and not stopped:
            self.ahead()
        failure, self._failure = self._failure, None
        if failure is not None and not isinstance(failure, Interrupted | WorkerError):
            raise failure
        micro_batches, self._ahead = self._ahead or [], None
        own = Labels.of(micro_batches, self.objective)
        numbers = (
            stopped or isinstance(failure, Interrupted),
            isinstance(failure, WorkerError),
            own.total,
            sum(len(batch.keys) for batch in micro_batches),
            sum(batch.tokens for batch in micro_batches),
            sum(batch.words for batch in micro_batches),
            self.processes.is_rank0 and self.time_to_save(),
        )
        stop, died, labels, blocks, tokens, words, save = map(int, self.processes.sum(numbers))
        if stop:
            raise Interrupted(f"{stop_requested() or 'a signal'}: stopped")
        if died:
            raise failure or WorkerError(
                f"training.dataloader_num_workers (={self.workers}): a process that prepares "
                "batches has died beside another process of the run; its message says why"
            )
        counted = replace(own, total=labels)
        return StepBatch(micro_batches, counted, blocks, tokens, words, saves=save > 0)

    def _draw(self) -> list[Batch]:
        """Take the micro-batches of one step.

        Raises:
            WorkerError: a process that prepares them has died or hangs.
            Interrupted: it did because everything is to stop.
        """
        try:
            with phase("data"):
                drawn = list(islice(self.batches, self.micro_batches))
        except RuntimeError as error:
            if "DataLoader" not in str(error):
                raise
            check_interrupt()
            raise WorkerError(
                f"training.dataloader_num_workers (={self.workers}): "
                f"{' '.join(str(error).split())}; run the same command again to continue, with 0 "
                "if it comes back"
            ) from error
        return [_pinned(batch) for batch in drawn] if self.pinned else drawn


def _pinned(batch: Batch) -> Batch:
    """Put what the model reads into memory that a GPU can fetch from while the host works on."""
    return replace(batch, inputs={name: t.pin_memory() for name, t in batch.inputs.items()})


def can_pin(device: torch.device) -> bool:
    """Tell whether a device fetches from pinned memory by itself."""
    return device.type == "cuda"
