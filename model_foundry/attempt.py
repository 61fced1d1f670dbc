"""One start of a run: where it goes on, whether it may, and its training.

A run has as many attempts as it needs. What connects them is on disk: the newest whole checkpoint,
the status and the log.
"""

import logging
import math
import uuid
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from rich.console import Console

from model_foundry.architectures import LOADED_PLUGINS, BaseLanguageModel
from model_foundry.config import ExperimentConfig
from model_foundry.data.loaders import Batch, Blocks, evaluation_batches, training_batches
from model_foundry.errors import CheckpointError, ConfigError, NonFiniteError
from model_foundry.evaluation.validation_loss import measure_loss
from model_foundry.preparation import Prepared
from model_foundry.reproducibility import environment, seeded
from model_foundry.run_directory import Record, RunDirectory, RunStatus
from model_foundry.training.checkpoint import (
    load_optimizer,
    load_random_states,
    load_weights,
    save_checkpoint,
)
from model_foundry.training.checkpoint_store import Checkpoint, apply_retention, newest_usable
from model_foundry.training.identity import (
    Identity,
    as_settings,
    changed_content,
    changed_last_bits,
    changed_settings,
    require_horizon,
    require_same,
)
from model_foundry.training.loop import train as run_loop
from model_foundry.training.metrics import MetricsLog, read_metrics
from model_foundry.training.progress import Display
from model_foundry.training.schedule import learning_rate, steps_of_epochs
from model_foundry.training.state import TrainState

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Where an attempt begins."""

    run_id: str
    attempt: int
    """1 for the first start of a run."""
    checkpoint: Checkpoint | None
    """What it goes on from; None: the beginning."""
    completed: bool = False
    """Whether the attempt before it came to its end."""

    @classmethod
    def anew(cls) -> "Start":
        """Return the first start of a new run."""
        return cls(uuid.uuid4().hex, 1, None)

    def state(self) -> TrainState:
        """Return the counters to begin with."""
        if self.checkpoint is None:
            return TrainState()
        counters = self.checkpoint.state.counters
        return TrainState(last_good_step=counters.step, **counters.model_dump())


def find_start(run: RunDirectory, config: ExperimentConfig) -> Start:
    """Find out where a run goes on; what is no part of it any more is moved aside and named.

    Raises:
        CheckpointError: there were checkpoints, and none is whole.
        ResumeError: a setting that decides what is trained has changed.
    """
    if not run.holds_a_run():
        return Start.anew()
    run.remove_debris()
    status = _status(run)
    checkpoint = newest_usable(run.checkpoints, run_id=status.run_id if status else None)
    if checkpoint is None and status is not None and status.last_good_step is not None:
        raise CheckpointError(
            f"{run.checkpoints}: the checkpoint of step {status.last_good_step} is gone, and there "
            "is no other; copy one back, or start with --fresh to move the run aside"
        )
    saved = checkpoint.state.identity.config if checkpoint else as_settings(run.config())
    require_same(run.path, changed_settings(saved, as_settings(config)))
    attempts = max(status.attempt if status else 0, checkpoint.state.attempt if checkpoint else 0)
    run_id = checkpoint.state.run_id if checkpoint else status and status.run_id
    completed = status is not None and status.state == "completed"
    return Start(run_id or uuid.uuid4().hex, attempts + 1, checkpoint, completed)


def _status(run: RunDirectory) -> RunStatus | None:
    """Read the status, without which a run can be resumed all the same."""
    try:
        return run.status()
    except ConfigError as error:
        logger.warning("%s; it is written anew", error)
        return None


def identify(config: ExperimentConfig, prepared: Prepared, device: torch.device) -> Identity:
    """Say what the run is."""
    plugins = {f"plugin {path}": digest for path, digest in LOADED_PLUGINS.items()}
    return Identity(
        config=as_settings(config),
        content=prepared.content,
        blocks_per_step=blocks_per_step(config),
        horizon=horizon(config, blocks=len(prepared.train)),
        environment={**environment(device), **plugins},
    )


def blocks_per_step(config: ExperimentConfig) -> int:
    """Return the global batch: the blocks of one optimizer step."""
    training = config.training
    return training.per_device_train_batch_size * training.gradient_accumulation_steps


def horizon(config: ExperimentConfig, *, blocks: int) -> int:
    """Return the optimizer steps of the whole run.

    Raises:
        ConfigError: the warm-up is longer than the epochs.
    """
    training = config.training
    if training.epochs is None:
        assert training.max_steps is not None  # a law of the configuration
        return training.max_steps
    steps = steps_of_epochs(training.epochs, blocks=blocks, blocks_per_step=blocks_per_step(config))
    if training.warmup_steps > steps:
        raise ConfigError(
            f"training.warmup_steps: must be <= the {steps} steps of {training.epochs} epochs, "
            f"got {training.warmup_steps}"
        )
    return steps


def require_continuation(
    run: RunDirectory,
    config: ExperimentConfig,
    checkpoint: Checkpoint | None,
    identity: Identity,
    *,
    extend: bool,
) -> None:
    """Refuse a run that would not be the same any more; say what differs in its last bits.

    Raises:
        ResumeError: text, tokenizer, global batch or length have changed.
    """
    if checkpoint is None:
        return
    saved = checkpoint.state.identity
    require_same(run.path, changed_content(saved, identity))
    require_horizon(run.path, saved, identity, extend=extend)
    if found := changed_last_bits(saved, identity):
        logger.warning(
            "numbers may differ in their last bits from those of an uninterrupted run (saved -> "
            "now): %s",
            "; ".join(found),
        )
    if saved.horizon != identity.horizon:
        step = checkpoint.step
        before, after = (learning_rate(step, config.training, i.horizon) for i in (saved, identity))
        logger.info(
            "extended from %d to %d steps: the learning rate after step %d is %.3g instead of %.3g",
            *(saved.horizon, identity.horizon, step, after, before),
        )


def measure(
    config: ExperimentConfig, prepared: Prepared, split: Blocks, model: BaseLanguageModel
) -> dict[str, float]:
    """Return the loss of a model on a split of the corpus; see `measure_loss`."""
    batches = evaluation_batches(
        split, prepared.collator, batch_size=config.training.eval_batch_size
    )
    return measure_loss(model, batches, prepared.objective)


class Attempt:
    """The training of a run, from where it starts to its last step.

    Args:
        console: where the progress is drawn; None: the standard error stream.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        run: RunDirectory,
        prepared: Prepared,
        *,
        identity: Identity,
        start: Start,
        accelerator: Accelerator,
        console: Console | None = None,
    ) -> None:
        self.console = console
        self.config, self.run, self.prepared = config, run, prepared
        self.identity, self.start, self.accelerator = identity, start, accelerator
        self.state = start.state()
        self.measured: dict[str, float] = {}
        self.losses: dict[int, float] = {}  # validation loss by step

    def train(self, model: BaseLanguageModel, record: Record) -> dict[str, float]:
        """Train the model and return what its last evaluation found.

        Args:
            record: writes how far the run has come; it is called after each checkpoint.
        """
        number, checkpoint = self.start.attempt, self.start.checkpoint
        if checkpoint is not None:
            logger.info("attempt %d goes on from %s", number, checkpoint.path)
        elif number > 1:
            logger.info("attempt %d begins again: there was no checkpoint yet", number)
        log = MetricsLog(self.run.metrics_file, attempt=number)
        log.rewind(self.state.step)
        self.losses = validation_losses(self.run)
        self.record = record
        with (
            seeded(self.config.seeds.dropout),
            closing(self._batches()) as batches,
            Display(self.identity.horizon, start=self.state.step, console=self.console) as display,
        ):
            try:
                run_loop(
                    model,
                    batches,
                    objective=self.prepared.objective,
                    config=self.config.training,
                    horizon=self.identity.horizon,
                    accelerator=self.accelerator,
                    state=self.state,
                    evaluate=self._evaluate,
                    save=self._save,
                    restore=self._restore if checkpoint else None,
                    log=log,
                    display=display,
                )
            except NonFiniteError as error:
                raise self._diagnosed(error) from error
        return self.measured

    def _batches(self) -> Generator[Batch]:
        return training_batches(
            self.prepared.train,
            self.prepared.collator,
            micro_batch=self.config.training.per_device_train_batch_size,
            seed=self.config.seeds.data,
            start=self.state.blocks_seen,
            workers=self.config.training.dataloader_num_workers,
        )

    def _evaluate(self, model: BaseLanguageModel) -> Mapping[str, float]:
        self.measured = measure(self.config, self.prepared, self.prepared.validation, model)
        if math.isfinite(self.measured["loss"]):
            self.losses[self.state.step] = self.measured["loss"]
        return self.measured

    def _save(
        self, model: BaseLanguageModel, optimizer: torch.optim.Optimizer | None, *, milestone: bool
    ) -> None:
        scaler = self.accelerator.scaler
        save_checkpoint(
            self.run.checkpoint(self.state.step),
            model,
            self.prepared.tokenizer,
            optimizer=optimizer,
            state=self.state,
            identity=self.identity,
            run_id=self.start.run_id,
            attempt=self.start.attempt,
            milestone=milestone,
            scaler=scaler.state_dict() if scaler else None,
        )
        if optimizer is not None:
            self.state.last_good_step = self.state.step
            self.record()
            apply_retention(
                self.run.checkpoints,
                run_id=self.start.run_id,
                limit=self.config.training.save_total_limit,
                losses=self.losses,
            )

    def _restore(self, model: BaseLanguageModel, optimizer: torch.optim.Optimizer) -> None:
        checkpoint, scaler = self.start.checkpoint, self.accelerator.scaler
        assert checkpoint is not None  # else there is nothing to restore
        load_weights(checkpoint.path, model)
        load_optimizer(checkpoint.path, model, optimizer)
        if scaler and checkpoint.state.scaler:
            scaler.load_state_dict(checkpoint.state.scaler)
        # Last: nothing but the next step may draw from them after this.
        for device in load_random_states(checkpoint.path, checkpoint.state):
            logger.warning("%s has no random state in %s", device, checkpoint.path)

    def _diagnosed(self, error: NonFiniteError) -> NonFiniteError:
        """Write down what is known of a step that failed, and say where."""
        message = str(error)
        if error.facts:
            name = f"not-finite-step-{error.facts['step']:08d}"
            message += f" More in {self.run.write_diagnosis(name, error.facts)}."
        good = self.state.last_good_step
        where = "There is no checkpoint" if good is None else f"The last checkpoint is step {good}"
        return NonFiniteError(f"{message} {where}.", error.facts)


def validation_losses(run: RunDirectory) -> dict[int, float]:
    """Return the validation loss of each step that was evaluated, as far as it is a number."""
    if not run.metrics_file.exists():
        return {}
    lines = (line for line in read_metrics(run.metrics_file) if "eval/loss" in line)
    return {line["step"]: line["eval/loss"] for line in lines if math.isfinite(line["eval/loss"])}
