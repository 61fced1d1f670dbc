"""What is done between two steps of the loop: counting, logging, saving and evaluating."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import torch

from model_foundry.architectures import BaseLanguageModel
from model_foundry.config import TrainingConfig
from model_foundry.data.batches.loaders import Batch, batch_digest
from model_foundry.errors import SaveError
from model_foundry.foundation.failpoints import failpoint
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.training.lr_schedule import is_due
from model_foundry.training.metrics_log import MetricsLog
from model_foundry.training.milestones import is_milestone
from model_foundry.training.nonfinite import NonFiniteGuard, StepResult, rows_of_all
from model_foundry.training.progress_bar import Display
from model_foundry.training.state import TrainState
from model_foundry.training.step_batches import StepBatch

Evaluate = Callable[[BaseLanguageModel], Mapping[str, float]]
MIB = 2**20
now = time.monotonic  # seconds, which no one sets back


class Save(Protocol):
    """Writes a checkpoint of the present step. All processes call it, and one writes."""

    def __call__(
        self,
        model: BaseLanguageModel,
        optimizer: torch.optim.Optimizer | None,
        *,
        milestone: bool,
        timed: bool = False,
    ) -> None:
        """Write it.

        Args:
            optimizer: None: the checkpoint is for analysis only.
            milestone: whether it is kept for ever.
            timed: whether it is written because of the time only.
        """


class Rhythm:
    """What is due after a step, in the same order in every process.

    Args:
        model: the bare model, not what Accelerate makes of it; and so the optimizer.
        log: written by the main process alone.
    """

    def __init__(
        self,
        model: BaseLanguageModel,
        optimizer: torch.optim.Optimizer,
        config: TrainingConfig,
        *,
        horizon: int,
        state: TrainState,
        finiteness: NonFiniteGuard,
        evaluate: Evaluate,
        save: Save,
        log: MetricsLog,
        display: Display,
        processes: ProcessGroup,
    ) -> None:
        self.model, self.optimizer, self.config, self.horizon = model, optimizer, config, horizon
        self.state, self.evaluate, self.save = state, evaluate, save
        self.finiteness, self.processes = finiteness, processes
        self.log, self.display = log, display
        self.milestone = False  # whether the present step is one
        self._timed = False  # whether time asks for a checkpoint of it
        self._saved_at = now()
        self.watch = Stopwatch()

    def time_to_save(self) -> bool:
        """Tell whether the last checkpoint to resume from is too long ago."""
        minutes = self.config.save_minutes
        return minutes is not None and now() - self._saved_at >= minutes * 60

    def advance(self, drawn: StepBatch) -> None:
        """Count a step, of which each row was read, however few of its tokens have a label."""
        state, before = self.state, replace(self.state)
        state.step += 1
        self._timed = drawn.saves
        state.blocks_seen += drawn.blocks
        state.tokens_seen += drawn.tokens
        state.words_seen += drawn.words
        self.milestone = is_milestone(
            self.config.milestones,
            step=state.step,
            words=(before.words_seen, state.words_seen),
            tokens=(before.tokens_seen, state.tokens_seen),
        )
        self.watch.count(drawn.tokens)
        self.display.advance(state.step)

    def log_if_due(self, micro_batches: list[Batch], result: StepResult, rate: float) -> None:
        """Write a line of the log, the digest of all rows of the step with it."""
        if not is_due(self.state.step, self.config.logging_steps, self.horizon):
            return
        self.finiteness.require()
        values = _metrics(self.state, result, rate)
        values["train/tokens_per_second"] = self.watch.tokens_per_second()
        values |= _memory(result.loss_on_device.device)
        rows = rows_of_all(micro_batches, self.processes)
        self._write({**values, "train/batch_digest": batch_digest(rows)})
        self.display.training(self.state.step, values)

    def save_if_due(self) -> None:
        """Write a checkpoint at every so many steps, at each milestone, and when it is time to."""
        due = is_due(self.state.step, self.config.save_steps, self.horizon)
        whole = due or self._timed or not self.config.milestones.save_only_model
        if due or self._timed or self.milestone:
            self._save(resumable=whole, timed=self._timed and not due)

    def save_unless_saved(self) -> None:
        """Write a checkpoint to resume from, unless the present step has one."""
        if self.state.step and self.state.last_good_step != self.state.step:
            self._save(resumable=True)

    def evaluate_if_due(self) -> None:
        """Measure the model, unless nothing was trained."""
        state = self.state
        if state.step == 0 or not is_due(state.step, self.config.eval_steps, self.horizon):
            return
        self.finiteness.require()
        with self.watch.paused(), blocking_section(f"the evaluation of step {state.step}"):
            figures = {f"eval/{name}": v for name, v in self.evaluate(self.model).items()}
        state.note_evaluation(figures["eval/loss"])
        self._write(figures)
        self.display.evaluation(state.step, figures)
        failpoint(f"step {state.step} evaluated")

    def _save(self, *, resumable: bool, timed: bool = False) -> None:
        self.finiteness.require()
        self.processes.on_rank0(self.log.flush)
        with self.watch.paused(), blocking_section(f"the save of step {self.state.step}"):
            optimizer = self.optimizer if resumable else None
            self.save(self.model, optimizer, milestone=self.milestone, timed=timed)
        if resumable:
            self._saved_at = now()

    def _write(self, values: Mapping[str, float | str]) -> None:
        try:
            self.processes.on_rank0(lambda: self.log.write(self.state.step, values))
        except SaveError:
            self.save_unless_saved()  # what was learned matters more than its log
            raise


def _metrics(state: TrainState, result: StepResult, rate: float) -> dict[str, float]:
    return {
        "train/loss": result.loss,
        "train/learning_rate": rate,
        "train/grad_norm": result.grad_norm,
        "train/tokens_seen": state.tokens_seen,
        "train/words_seen": state.words_seen,
    }


def _memory(device: torch.device) -> dict[str, float]:
    """Return the most memory that tensors have taken on a GPU; nothing on a CPU."""
    if device.type != "cuda":
        return {}
    return {"train/peak_memory_mib": round(torch.cuda.max_memory_allocated(device) / MIB, 1)}


class Stopwatch:
    """Tokens per second of training since the last reading; evaluations and saves do not count."""

    def __init__(self) -> None:
        self._since, self._tokens = time.perf_counter(), 0

    def count(self, tokens: int) -> None:
        """Count the tokens of a step."""
        self._tokens += tokens

    def tokens_per_second(self) -> float:
        """Return the speed since it was last asked for."""
        now = time.perf_counter()
        speed = self._tokens / (now - self._since)
        self._since, self._tokens = now, 0
        return speed

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of the block out."""
        begun = time.perf_counter()
        yield
        self._since += time.perf_counter() - begun
