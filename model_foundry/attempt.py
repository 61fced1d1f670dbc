"""One attempt at a run: its training, from where it starts to its last step.

A run has as many attempts as it needs; where one goes on is decided in `continuation`.
"""

import logging
import math
from collections.abc import Generator, Mapping
from contextlib import closing

import torch
from accelerate import Accelerator
from rich.console import Console

from model_foundry.architectures import BaseLanguageModel
from model_foundry.config import ExperimentConfig
from model_foundry.continuation import Start
from model_foundry.data.blocks import Rows
from model_foundry.data.loaders import (
    Batch,
    evaluation_batches,
    evaluation_streams,
    training_batches,
)
from model_foundry.errors import NonFiniteError
from model_foundry.evaluation.validation_loss import measure_loss
from model_foundry.preparation import Prepared
from model_foundry.reproducibility import seeded
from model_foundry.run_directory import Record, RunDirectory
from model_foundry.signals import during
from model_foundry.training.carried import CarriedState
from model_foundry.training.checkpoint import (
    load_carried,
    load_optimizer,
    load_random_states,
    load_weights,
    save_checkpoint,
)
from model_foundry.training.checkpoint_store import Checkpoint, apply_retention
from model_foundry.training.identity import (
    Identity,
)
from model_foundry.training.loop import train as run_loop
from model_foundry.training.metrics import MetricsLog, read_metrics
from model_foundry.training.progress import Display

logger = logging.getLogger(__name__)


def measure(
    config: ExperimentConfig, prepared: Prepared, split: Rows, model: BaseLanguageModel
) -> dict[str, float]:
    """Return the loss of a model on a split of the corpus; see `measure_loss`."""
    carries = config.training.carry_state
    batches = (
        evaluation_streams(split, prepared.collator)
        if carries
        else evaluation_batches(
            split, prepared.collator, batch_size=config.training.eval_batch_size
        )
    )
    return measure_loss(model, batches, prepared.objective, carry_state=carries)


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
        self.log = MetricsLog(
            self.run.metrics_file, attempt=number, before_writing=self.run.require_held
        )
        self.log.rewind(self.state.step)
        self._compare_log(checkpoint)
        self.losses = validation_losses(self.run)
        self.record = record
        self.carried = self._carried(model)
        with (
            seeded(self.config.seeds.dropout),
            closing(self._batches()) as batches,
            during("the training"),
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
                    log=self.log,
                    display=display,
                    carried=self.carried,
                )
            except NonFiniteError as error:
                raise self._diagnosed(error) from error
        return self.measured

    def _compare_log(self, checkpoint: Checkpoint | None) -> None:
        """Say so where the log is not what it was when the checkpoint was written."""
        found = self.log.lines_before(self.state.step)
        if checkpoint is not None and found != checkpoint.state.log_lines:
            logger.warning(
                "%s: has %d lines up to step %d where %d were written; the run goes on with these",
                *(self.run.metrics_file, found, checkpoint.step, checkpoint.state.log_lines),
            )

    def _carried(self, model: BaseLanguageModel) -> CarriedState | None:
        training = self.config.training
        if not training.carry_state:
            return None
        return CarriedState(
            model,
            micro_batches=training.gradient_accumulation_steps,
            rows=training.per_device_train_batch_size,
        )

    def _batches(self) -> Generator[Batch]:
        return training_batches(
            self.prepared.train,
            self.prepared.collator,
            micro_batch=self.config.training.per_device_train_batch_size,
            seed=self.config.seeds.data,
            start=self.state.blocks_seen,
            workers=self.config.training.dataloader_num_workers,
            packing=self.config.data.packing,
            rows_per_step=self.identity.blocks_per_step,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )

    def _evaluate(self, model: BaseLanguageModel) -> Mapping[str, float]:
        self.measured = measure(self.config, self.prepared, self.prepared.validation, model)
        if math.isfinite(self.measured["loss"]):
            self.losses[self.state.step] = self.measured["loss"]
        return self.measured

    def _save(
        self, model: BaseLanguageModel, optimizer: torch.optim.Optimizer | None, *, milestone: bool
    ) -> None:
        self.run.require_held()
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
            log_lines=self.log.lines_before(self.state.step),
            carried=self.carried,
        )
        if optimizer is not None:
            self.state.last_good_step = self.state.step
            self.record()
            apply_retention(
                self.run.checkpoints,
                run_id=self.start.run_id,
                limit=self.config.training.save_total_limit,
                losses=self.losses,
                lean_milestones=self.config.training.milestones.save_only_model,
            )

    def _restore(self, model: BaseLanguageModel, optimizer: torch.optim.Optimizer) -> None:
        checkpoint, scaler = self.start.checkpoint, self.accelerator.scaler
        assert checkpoint is not None  # else there is nothing to restore
        load_weights(checkpoint.path, model)
        load_optimizer(checkpoint.path, model, optimizer)
        if self.carried is not None:
            load_carried(checkpoint.path, self.carried)
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
        return NonFiniteError(
            f"{message} {where}; a run with other settings begins anew, with --fresh.", error.facts
        )


def validation_losses(run: RunDirectory) -> dict[int, float]:
    """Return the validation loss of each step that was evaluated, as far as it is a number."""
    if not run.metrics_file.exists():
        return {}
    lines = (line for line in read_metrics(run.metrics_file) if "eval/loss" in line)
    return {line["step"]: line["eval/loss"] for line in lines if math.isfinite(line["eval/loss"])}
