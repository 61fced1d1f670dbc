"""The training loop. It trains any `BaseLanguageModel` and knows none.

One *step* is one optimizer update; `step` makes it, and the loop says when to log, to evaluate, to
save and to stop.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Protocol

import torch
from accelerate import Accelerator

from model_foundry.architectures import BaseLanguageModel
from model_foundry.config import TrainingConfig
from model_foundry.data.loaders import Batch, batch_digest
from model_foundry.errors import Interrupted, SaveError, WorkerError
from model_foundry.failpoints import reached
from model_foundry.objectives import Objective
from model_foundry.signals import during, poll, stop_requested
from model_foundry.training.carried import CarriedState
from model_foundry.training.metrics import MetricsLog
from model_foundry.training.milestones import is_milestone
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.progress import Display
from model_foundry.training.schedule import is_due, learning_rate
from model_foundry.training.state import TrainState
from model_foundry.training.step import StepResult, take_step

Evaluate = Callable[[BaseLanguageModel], Mapping[str, float]]
Restore = Callable[[BaseLanguageModel, torch.optim.Optimizer], None]


class Save(Protocol):
    """Writes a checkpoint of the present step."""

    def __call__(
        self,
        model: BaseLanguageModel,
        optimizer: torch.optim.Optimizer | None,
        *,
        milestone: bool,
    ) -> None:
        """Write it.

        Args:
            optimizer: None: the checkpoint is for analysis only.
            milestone: whether it is kept for ever.
        """


def train(
    model: BaseLanguageModel,
    batches: Iterator[Batch],
    *,
    objective: Objective,
    config: TrainingConfig,
    horizon: int,
    accelerator: Accelerator,
    state: TrainState,
    evaluate: Evaluate,
    save: Save,
    restore: Restore | None = None,
    log: MetricsLog,
    display: Display,
    carried: CarriedState | None = None,
) -> TrainState:
    """Train a model until `horizon` steps are made.

    Dropout, and nothing else, draws from torch's global generator, which the caller seeds.

    Args:
        batches: micro-batches without end, `config.gradient_accumulation_steps` for each step.
        state: where the run stands; it is advanced in place and returned.
        evaluate: measures the model on held-out text; must not touch global random state.
        save: writes a checkpoint, and notes in `state` one that can be resumed from.
        restore: gives the model, its optimizer and the random generators what a checkpoint holds;
            None: the run begins.
        carried: the states that rows go on from; None: rows stand alone.

    Raises:
        NonFiniteError: the loss or the gradient of a step is not finite; the weights are those of
            the step before.
        WorkerError: a process that prepares batches has died; the last step made is saved.
        Interrupted: a signal came; the last step made is saved.
    """
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    if config.compile is True:
        model.compile()
    prepared, optimizer = accelerator.prepare(model, build_optimizer(model, config))
    bare = accelerator.unwrap_model(prepared)
    rhythm = _Rhythm(
        bare, optimizer.optimizer, config, horizon, state, evaluate, save, log, display
    )
    if restore is not None:
        restore(bare, optimizer.optimizer)
    try:
        rhythm.evaluate_if_due()  # a checkpoint precedes the evaluation of its step
        while state.step < horizon:
            poll()
            rate = learning_rate(state.step, config, horizon)
            with during(f"step {state.step + 1}"):
                micro_batches = _draw(batches, config)
                result = take_step(
                    prepared,
                    optimizer,
                    micro_batches,
                    objective=objective,
                    learning_rate=rate,
                    max_grad_norm=config.max_grad_norm,
                    accelerator=accelerator,
                    step=state.step,
                    carried=carried,
                )
                rhythm.advance(micro_batches, result)
                reached(f"step {state.step} made")
                rhythm.log_if_due(micro_batches, result, rate)
            rhythm.save_if_due()
            rhythm.evaluate_if_due()
    except (Interrupted, WorkerError) as error:
        rhythm.save_unless_saved()
        if isinstance(error, Interrupted):
            raise Interrupted(_stopped(state)) from error
        raise
    return state


class _Rhythm:
    """What is done between two steps: counting, logging, saving and evaluating."""

    def __init__(
        self,
        model: BaseLanguageModel,
        optimizer: torch.optim.Optimizer,
        config: TrainingConfig,
        horizon: int,
        state: TrainState,
        evaluate: Evaluate,
        save: Save,
        log: MetricsLog,
        display: Display,
    ) -> None:
        self.model, self.optimizer, self.config, self.horizon = model, optimizer, config, horizon
        self.state, self.evaluate, self.save = state, evaluate, save
        self.log, self.display = log, display
        self.milestone = False  # whether the present step is one
        self.watch = _Stopwatch()

    def advance(self, micro_batches: list[Batch], result: StepResult) -> None:
        """Count a step. Blocks without a label were drawn, but nothing was learned from them."""
        state, before = self.state, replace(self.state)
        learned = [b for b, count in zip(micro_batches, result.labels, strict=True) if count]
        state.step += 1
        state.blocks_seen += sum(len(batch.keys) for batch in micro_batches)
        state.tokens_seen += sum(batch.tokens for batch in learned)
        state.words_seen += sum(batch.words for batch in learned)
        self.milestone = is_milestone(
            self.config.milestones,
            step=state.step,
            words=(before.words_seen, state.words_seen),
            tokens=(before.tokens_seen, state.tokens_seen),
        )
        self.watch.count(micro_batches)
        self.display.advance(state.step)

    def log_if_due(self, micro_batches: list[Batch], result: StepResult, rate: float) -> None:
        if is_due(self.state.step, self.config.logging_steps, self.horizon):
            values = _metrics(self.state, result, rate, self.watch.tokens_per_second())
            self._write({**values, "train/batch_digest": batch_digest(micro_batches)})
            self.display.training(self.state.step, values)

    def save_if_due(self) -> None:
        due = is_due(self.state.step, self.config.save_steps, self.horizon)
        if due or self.milestone:
            self._save(resumable=due or not self.config.milestones.save_only_model)

    def save_unless_saved(self) -> None:
        if self.state.step and self.state.last_good_step != self.state.step:
            self._save(resumable=True)

    def evaluate_if_due(self) -> None:
        state = self.state
        if state.step == 0 or not is_due(state.step, self.config.eval_steps, self.horizon):
            return
        with self.watch.paused(), during(f"the evaluation of step {state.step}"):
            figures = {f"eval/{name}": v for name, v in self.evaluate(self.model).items()}
        state.note_evaluation(figures["eval/loss"])
        self._write(figures)
        self.display.evaluation(state.step, figures)

    def _save(self, *, resumable: bool) -> None:
        self.log.flush()
        with self.watch.paused(), during(f"the save of step {self.state.step}"):
            self.save(self.model, self.optimizer if resumable else None, milestone=self.milestone)

    def _write(self, values: Mapping[str, float | str]) -> None:
        try:
            self.log.write(self.state.step, values)
        except SaveError:
            self.save_unless_saved()  # what was learned matters more than its log
            raise


def _draw(batches: Iterator[Batch], config: TrainingConfig) -> list[Batch]:
    """Take the micro-batches of one step.

    Raises:
        WorkerError: a process that prepares them has died or hangs.
        Interrupted: it did because everything is to stop.
    """
    try:
        return list(islice(batches, config.gradient_accumulation_steps))
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        poll()
        raise WorkerError(
            f"training.dataloader_num_workers (={config.dataloader_num_workers}): "
            f"{' '.join(str(error).split())}; run the same command again to continue, with 0 if it "
            "comes back"
        ) from error


def _stopped(state: TrainState) -> str:
    """Say what has become of a run that a signal stopped."""
    saved = f"saved at step {state.step}" if state.step else "stopped before the first step"
    return f"{stop_requested()}: {saved}"


def _metrics(state: TrainState, result: StepResult, rate: float, speed: float) -> dict[str, float]:
    return {
        "train/loss": result.loss,
        "train/learning_rate": rate,
        "train/grad_norm": result.grad_norm,
        "train/tokens_per_second": speed,
        "train/tokens_seen": state.tokens_seen,
        "train/words_seen": state.words_seen,
    }


class _Stopwatch:
    """Tokens per second of training since the last reading; evaluations and saves do not count."""

    def __init__(self) -> None:
        self._since, self._tokens = time.perf_counter(), 0

    def count(self, micro_batches: list[Batch]) -> None:
        self._tokens += sum(batch.tokens for batch in micro_batches)

    def tokens_per_second(self) -> float:
        now = time.perf_counter()
        speed = self._tokens / (now - self._since)
        self._since, self._tokens = now, 0
        return speed

    @contextmanager
    def paused(self) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._since += time.perf_counter() - begun
