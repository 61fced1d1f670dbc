"""The work between two steps: logging, saving and evaluating, each a hook of the loop.

Every process calls the same hooks in the same order, since saving and evaluating exchange data.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import torch

from model_foundry.architectures import BaseModel
from model_foundry.data.batches.loaders import batch_digest
from model_foundry.foundation.hardware import peak_resident_bytes
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.objectives.measure import Metrics
from model_foundry.training.checkpoint.optimizer_state import require_storable
from model_foundry.training.context import RunContext
from model_foundry.training.lr_schedule import is_due
from model_foundry.training.metrics_log import MetricsLog
from model_foundry.training.nonfinite import NonFiniteGuard, StepResult, rows_of_all
from model_foundry.training.reporting import Reporter
from model_foundry.training.step_batches import StepBatch

logger = logging.getLogger(__name__)

MIB = 2**20
now = time.monotonic  # seconds, which no one sets back


class Stopwatch:
    """The speed of training since the last reading; evaluations and saves do not count."""

    def __init__(self) -> None:
        self._since, self._unit, self._number = time.perf_counter(), "", 0

    def count(self, examples: int, counts: Mapping[str, int]) -> None:
        """Count a step by the first unit of its examples, else the examples themselves."""
        self._unit, number = next(iter(counts.items()), ("examples", examples))
        self._number += number

    def speed(self) -> dict[str, float]:
        """Return the speed since the last call, under its name in the log."""
        now = time.perf_counter()
        speed = self._number / (now - self._since)
        self._since, self._number = now, 0
        return {f"train/{self._unit}_per_second": speed}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time of the block."""
        begun = time.perf_counter()
        yield
        self._since += time.perf_counter() - begun


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training as its hooks see it."""

    context: RunContext
    model: BaseModel
    """The bare model, not Accelerate's wrapper; so is the optimizer."""
    optimizer: torch.optim.Optimizer | None
    """None: the model learns by counting."""
    guard: NonFiniteGuard
    metrics: Metrics | None = None
    """Metrics of the training batches since the last line of the log; None: there are none."""
    stopwatch: Stopwatch = field(default_factory=Stopwatch)


@dataclass(frozen=True, kw_only=True)
class FinishedStep:
    """A step that was just made."""

    batch: StepBatch
    result: StepResult | None
    """Loss and gradient; None: the model learns by counting."""
    learning_rate: float
    milestone: bool
    """True if its checkpoint is kept forever."""


class Hook:
    """Something done between two steps. Each method does nothing unless it is overridden."""

    def on_start(self, training: Training) -> None:
        """Run before the first step of this attempt."""

    def around_step(self, training: Training) -> AbstractContextManager[None]:
        """Return a context in which the next step is made."""
        return nullcontext()

    def after_step(self, training: Training, step: FinishedStep) -> None:
        """Run after each step."""

    def on_stop(self, training: Training, step: FinishedStep | None) -> None:
        """Run if the loop stops early between two steps; `step` is the last one made, if any."""

    def save_is_due(self, training: Training) -> bool:
        """Return True if the clock asks for a checkpoint; only rank 0 is asked."""
        return False


def write(training: Training, log: MetricsLog, values: Mapping[str, float | str]) -> None:
    """Write one line of metrics, on rank 0.

    Raises:
        LogError: the disk is full, or writing is not permitted.
    """
    context = training.context
    context.processes.on_rank0(lambda: log.write(context.state.step, values))


@dataclass
class LogHook(Hook):
    """Writes the figures of every `logging_steps`-th step, with the digest of its inputs."""

    log: MetricsLog

    def _metrics(self, training: Training) -> dict[str, float]:
        """Return the metrics of the training batches since the line before."""
        if training.metrics is None:
            return {}
        figures = training.metrics.figures(training.context.processes)
        training.metrics.reset()
        return {f"train/{name}": value for name, value in figures.items()}

    def after_step(self, training: Training, step: FinishedStep) -> None:
        context, state = training.context, training.context.state
        if not is_due(state.step, context.config.training.logging_steps, context.total_steps):
            return
        training.guard.check()
        values = {
            **_learning(step),
            **{f"train/{unit}_seen": number for unit, number in state.seen.items()},
            **training.stopwatch.speed(),
            **self._metrics(training),
            **_peak_memory(context.accelerator.device),
        }
        rows = rows_of_all(step.batch.micro_batches, context.processes)
        write(training, self.log, {**values, "train/batch_digest": batch_digest(rows)})


class Save(Protocol):
    """Writes a checkpoint of the present step. All processes call it, and rank 0 writes."""

    def __call__(
        self, training: Training, *, resumable: bool, milestone: bool, timed: bool = False
    ) -> None:
        """Write it.

        Args:
            resumable: write what training resumes from; otherwise the model only.
            milestone: keep it forever.
            timed: it is written because of the time only.
        """


class SaveHook(Hook):
    """Saves every `save_steps` steps, every `save_minutes`, at milestones and at the end."""

    def __init__(self, save: Save, log: MetricsLog) -> None:
        self.save, self.log = save, log
        self._saved_at, self._can_save = now(), False

    def save_is_due(self, training: Training) -> bool:
        minutes = training.context.config.training.save_minutes
        return minutes is not None and now() - self._saved_at >= minutes * 60

    def after_step(self, training: Training, step: FinishedStep) -> None:
        config, timed = training.context.config.training, step.batch.timed_save
        if (
            not self._can_save and training.optimizer is not None
        ):  # after the first update, rather than hours later
            require_storable(training.model, training.optimizer)
            self._can_save = True
        due = is_due(training.context.state.step, config.save_steps, training.context.total_steps)
        if due or timed or step.milestone:
            resumable = due or timed or not config.milestones.save_only_model
            self._save(
                training, resumable=resumable, milestone=step.milestone, timed=timed and not due
            )

    def on_stop(self, training: Training, step: FinishedStep | None) -> None:
        state = training.context.state
        if state.step and state.last_good_step != state.step:
            milestone = step is not None and step.milestone
            self._save(training, resumable=True, milestone=milestone)

    def _save(
        self, training: Training, *, resumable: bool, milestone: bool, timed: bool = False
    ) -> None:
        training.guard.check()
        step = training.context.state.step
        training.context.processes.on_rank0(self.log.flush, step)
        with training.stopwatch.paused(), blocking_section(f"the save of step {step}"):
            self.save(training, resumable=resumable, milestone=milestone, timed=timed)
        if resumable:
            self._saved_at = now()


@dataclass
class ReportHook(Hook):
    """Reports each step and each checkpoint; lines of the log are reported by the log itself."""

    reporter: Reporter
    _saved: int | None = None

    def on_start(self, training: Training) -> None:
        self._saved = training.context.state.last_good_step

    def after_step(self, training: Training, step: FinishedStep) -> None:
        self.reporter.advance(training.context.state.step)
        self._report_checkpoint(training, milestone=step.milestone)

    def on_stop(self, training: Training, step: FinishedStep | None) -> None:
        self._report_checkpoint(training, milestone=False)

    def _report_checkpoint(self, training: Training, *, milestone: bool) -> None:
        state = training.context.state
        if self._saved != state.step and (milestone or state.last_good_step == state.step):
            self._saved = state.step
            self.reporter.saved(state.step)


def _learning(step: FinishedStep) -> dict[str, float]:
    """Return the figures of an update; none of a model that counts."""
    if (result := step.result) is None:
        return {}
    return {
        "train/loss": result.loss,
        **{f"train/loss/{name}": float(part) for name, part in result.parts.items()},
        "train/learning_rate": step.learning_rate,
        "train/grad_norm": result.grad_norm,
    }


def _peak_memory(device: torch.device) -> dict[str, float]:
    """Return the most memory that tensors have taken on a GPU, or the process elsewhere."""
    on_gpu = device.type == "cuda"
    most = torch.cuda.max_memory_allocated(device) if on_gpu else peak_resident_bytes()
    return {"train/peak_memory_mib": round(most / MIB, 1)}
