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
from model_foundry.processes import ALONE, Processes
from model_foundry.reproducibility import random_states, seed_generators, seed_of_process, seeded
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
from model_foundry.training.distributed import share_of_step
from model_foundry.training.identity import Identity
from model_foundry.training.loop import train as run_loop
from model_foundry.training.metrics import MetricsLog, read_metrics
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.profile import Profile
from model_foundry.training.progress import Display
from model_foundry.training.sharded import Divided, Whole, is_divided

logger = logging.getLogger(__name__)


def measure(
    config: ExperimentConfig,
    prepared: Prepared,
    split: Rows,
    model: BaseLanguageModel,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """Return the loss of a model on a split of the corpus; see `measure_loss`.

    Args:
        processes: all that have the model, at the same time.
    """
    training = config.training
    shared = not is_divided(model)
    share = {"process": processes.index, "processes": processes.number} if shared else {}
    batches = (
        evaluation_streams(split, prepared.collator, **share)
        if training.carry_state
        else evaluation_batches(
            split, prepared.collator, batch_size=training.eval_batch_size, **share
        )
    )
    return measure_loss(
        model,
        batches,
        prepared.objective,
        carry_state=training.carry_state,
        loss_without_logits=training.speed.loss_without_logits,
        processes=processes,
        shared=shared,
    )


class Attempt:
    """The training of a run, from where it starts to its last step.

    Args:
        console: where the progress is drawn; None: the standard error stream.
        processes: all that make the attempt together. The first one, main, alone writes and draws.
        profile: looks at some of the steps of main; None: nothing does.

    Attributes:
        trained: the model as it is saved, once it is trained; where weights are divided among
            processes, main alone has them all.
    """

    trained: BaseLanguageModel

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
        processes: Processes = ALONE,
        profile: Profile | None = None,
    ) -> None:
        self.processes = processes
        self.profile = profile if processes.is_main else None
        self.console = console if processes.is_main else Console(quiet=True)
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
        self.losses = self.processes.from_main(lambda: self._rewind(checkpoint))
        self.record = record
        training = self.config.training
        self.share = share_of_step(
            training.rows_per_step,
            most=training.per_device_train_batch_size,
            processes=self.processes.number,
        )
        self.carried = self._carried(model)
        self.whole = self._whole(model)
        with (
            seeded(seed_of_process(self.config.seeds.dropout, self.processes.index)),
            closing(self._batches()) as batches,
            during("the training"),
            Display(self.identity.horizon, start=self.state.step, console=self.console) as display,
        ):
            try:
                run_loop(
                    model,
                    batches,
                    objective=self.prepared.objective,
                    config=training,
                    horizon=self.identity.horizon,
                    accelerator=self.accelerator,
                    state=self.state,
                    evaluate=self._evaluate,
                    save=self._save,
                    restore=self._restore if checkpoint else None,
                    log=self.log,
                    display=display,
                    carried=self.carried,
                    micro_batches=self.share.micro_batches,
                    processes=self.processes,
                    profile=self.profile,
                )
            except NonFiniteError as error:
                diagnosed = error
                raise self.processes.from_main(lambda: self._diagnosed(diagnosed)) from error
        self.trained = self.whole.gathered(model)
        return self.measured

    def _rewind(self, checkpoint: Checkpoint | None) -> dict[int, float]:
        """Take the log back to where the attempt begins; return the validation losses before."""
        self.log.rewind(self.state.step)
        self._compare_log(checkpoint)
        return validation_losses(self.run)

    def _compare_log(self, checkpoint: Checkpoint | None) -> None:
        """Say so where the log is not what it was when the checkpoint was written."""
        found = self.log.lines_before(self.state.step)
        if checkpoint is not None and found != checkpoint.state.log_lines:
            logger.warning(
                "%s: has %d lines up to step %d where %d were written; the run goes on with these",
                *(self.run.metrics_file, found, checkpoint.step, checkpoint.state.log_lines),
            )

    def _whole(self, model: BaseLanguageModel) -> Whole:
        training = self.config.training
        if training.distributed.strategy == "ddp":
            return Whole()
        return Divided(model, self.processes, lambda whole: build_optimizer(whole, training))

    def _carried(self, model: BaseLanguageModel) -> CarriedState | None:
        if not self.config.training.carry_state:
            return None
        return CarriedState(
            model,
            micro_batches=self.share.micro_batches,
            rows=self.share.micro_batch,
            processes=self.processes,
        )

    def _batches(self) -> Generator[Batch]:
        return training_batches(
            self.prepared.train,
            self.prepared.collator,
            micro_batch=self.share.micro_batch,
            seed=self.config.seeds.data,
            start=self.state.blocks_seen,
            workers=self.config.training.dataloader_num_workers,
            packing=self.config.data.packing,
            rows_per_step=self.identity.blocks_per_step,
            process=self.processes.index,
            processes=self.processes.number,
        )

    def _evaluate(self, model: BaseLanguageModel) -> Mapping[str, float]:
        validation = self.prepared.validation
        self.measured = measure(self.config, self.prepared, validation, model, self.processes)
        if math.isfinite(self.measured["loss"]):
            self.losses[self.state.step] = self.measured["loss"]
        return self.measured

    def _save(
        self, model: BaseLanguageModel, optimizer: torch.optim.Optimizer | None, *, milestone: bool
    ) -> None:
        """Gather what the processes have, and have main write it."""
        whole = self.whole.gathered(model)
        moments = self.whole.gathered_moments(model, optimizer) if optimizer else None
        carried = self.carried.tensors() if self.carried and optimizer else None
        (_, *others) = self.processes.gathered(random_states()) if optimizer else (None,)
        scaler = self.accelerator.scaler

        def write() -> None:
            self.run.require_held()
            save_checkpoint(
                self.run.checkpoint(self.state.step),
                whole,
                self.prepared.tokenizer,
                optimizer=moments,
                state=self.state,
                identity=self.identity,
                run_id=self.start.run_id,
                attempt=self.start.attempt,
                milestone=milestone,
                scaler=scaler.state_dict() if scaler else None,
                log_lines=self.log.lines_before(self.state.step),
                carried=carried,
                random_of_others=others,
            )

        self.processes.from_main(write)
        if optimizer is not None:
            self.state.last_good_step = self.state.step
            self.processes.from_main(self._conclude_save)

    def _conclude_save(self) -> None:
        """Write down that there is a checkpoint, and give up those that are needed no more."""
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

        def load(model: BaseLanguageModel, optimizer: torch.optim.Optimizer) -> None:
            load_weights(checkpoint.path, model)
            load_optimizer(checkpoint.path, model, optimizer)

        self.whole.restore(load, model, optimizer)
        if self.carried is not None:
            load_carried(checkpoint.path, self.carried)
        if scaler and checkpoint.state.scaler:
            scaler.load_state_dict(checkpoint.state.scaler)
        # Last: nothing but the next step may draw from them after this.
        for device in self._restore_generators(checkpoint):
            logger.warning("%s has no random state in %s", device, checkpoint.path)

    def _restore_generators(self, checkpoint: Checkpoint) -> list[str]:
        """Put the generators of this process into their states; return devices that had none."""
        process, state = self.processes.index, checkpoint.state
        if process == 0:
            return load_random_states(checkpoint.path, state)
        if process <= len(state.random_of_others):
            return load_random_states(checkpoint.path, state, process=process)
        seed = self.config.seeds.dropout  # fewer processes wrote it
        seed_generators(seed_of_process(seed, process, step=checkpoint.step))
        return []

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
