"""One attempt at a run: its training, from where it starts to its last step.

A run has as many attempts as it needs; where one goes on is decided in `continuation`.
"""

import logging
import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager

from accelerate import Accelerator
from rich.console import Console

from model_foundry.architectures import BaseLanguageModel
from model_foundry.architectures.compilation import compilation_disabled
from model_foundry.config import OBJECTIVES, ExperimentConfig, TrainingConfig
from model_foundry.data.batches.loaders import (
    Batch,
    evaluation_batches,
    evaluation_streams,
    training_batches,
)
from model_foundry.data.batches.rows import Rows
from model_foundry.errors import NonFiniteError
from model_foundry.evaluation.causality import require_no_leak
from model_foundry.evaluation.comparability import unknown_share
from model_foundry.evaluation.validation_loss import measure_loss
from model_foundry.experiment.checkpointer import Checkpointing
from model_foundry.experiment.prepare_data import Prepared
from model_foundry.experiment.resume import ResumePoint
from model_foundry.experiment.run_directory import Record, RunDirectory
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.foundation.process_group import ALONE, ProcessGroup
from model_foundry.foundation.random_state import seed_of_process, seeded
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.checkpoint.sharded import ReplicatedState, ShardedState, is_sharded
from model_foundry.training.checkpoint.store import Checkpoint
from model_foundry.training.distributed import split_global_batch
from model_foundry.training.loop import Loop
from model_foundry.training.metrics_log import MetricsLog, read_metrics
from model_foundry.training.optimizer import build_optimizer
from model_foundry.training.out_of_memory import naming_the_batch
from model_foundry.training.profiler.profile import Profile
from model_foundry.training.progress_bar import Display
from model_foundry.training.run_fingerprint import RunFingerprint

logger = logging.getLogger(__name__)

BATCHES_OF_AN_INTERVAL = 8  # at least, where the text has so many rows


def measure(
    config: ExperimentConfig,
    prepared: Prepared,
    split: Rows,
    model: BaseLanguageModel,
    processes: ProcessGroup = ALONE,
) -> dict[str, float]:
    """Return the loss of a model on a split of the corpus; see `measure_loss`.

    `unknown_share` is the share of the text, in bytes, that the tokenizer does not know.

    Args:
        processes: all that have the model, at the same time.
    """
    training = config.training
    shared = not is_sharded(model)
    share = {"process": processes.rank, "processes": processes.world_size} if shared else {}
    batches = (
        evaluation_streams(split, prepared.evaluating, **share)
        if training.carry_state
        else evaluation_batches(
            split, prepared.evaluating, batch_size=_eval_batch(len(split), training), **share
        )
    )
    evaluating = naming_the_batch(
        config, model, rows=training.eval_batch_size, when=lambda: "an evaluation", trains=False
    )
    with evaluating, compilation_disabled(model):
        figures = measure_loss(
            model,
            batches,
            prepared.objective,
            carry_state=training.carry_state,
            loss_without_logits=training.speed.loss_without_logits,
            processes=processes,
            shared=shared,
        )
    return figures | {"unknown_share": unknown_share(split)}


def _eval_batch(rows: int, training: TrainingConfig) -> int:
    """Return the rows of a batch, fewer of a short text: an interval takes several batches."""
    return max(1, min(training.eval_batch_size, rows // BATCHES_OF_AN_INTERVAL))


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
        identity: RunFingerprint,
        start: ResumePoint,
        accelerator: Accelerator,
        console: Console | None = None,
        processes: ProcessGroup = ALONE,
        profile: Profile | None = None,
    ) -> None:
        self.processes = processes
        self.profile = profile if processes.is_rank0 else None
        self.console = console if processes.is_rank0 else Console(quiet=True)
        self.config, self.run, self.prepared = config, run, prepared
        self.identity, self.start, self.accelerator = identity, start, accelerator
        self.state = start.state()
        self.log = MetricsLog(
            run.metrics_file, attempt=start.attempt, before_writing=run.require_held
        )
        training = config.training
        self.share = split_global_batch(
            training.rows_per_step,
            most=training.per_device_train_batch_size,
            processes=processes.world_size,
        )
        self.measured: dict[str, float] = {}
        self.losses: dict[int, float] = {}  # validation loss by step

    def train(self, model: BaseLanguageModel, record: Record) -> dict[str, float]:
        """Train the model and return what its last evaluation found.

        Args:
            record: writes how far the run has come; it is called after each checkpoint.
        """
        checkpoint = self.start.checkpoint
        self._say_where_it_begins()
        self.losses = self.processes.on_rank0(lambda: self._rewind(checkpoint))
        carried, whole = self._carried(model), self._whole(model)
        checkpointing = self._checkpointing(record, whole, carried)
        with (
            seeded(seed_of_process(self.config.seeds.dropout, self.processes.rank)),
            closing(self._batches()) as batches,
            blocking_section("the training"),
            Display(self.identity.horizon, start=self.state.step, console=self.console) as display,
            self._diagnosing(),
        ):
            loop = Loop(
                model,
                batches,
                objective=self.prepared.objective,
                config=self.config.training,
                horizon=self.identity.horizon,
                accelerator=self.accelerator,
                state=self.state,
                evaluate=self._evaluate,
                save=checkpointing.save,
                log=self.log,
                display=display,
                carried=carried,
                micro_batches=self.share.micro_batches,
                processes=self.processes,
                profile=self.profile,
            )
            if checkpoint is not None:
                checkpointing.restore(checkpoint, loop.model, loop.optimizer)
            with self._naming_the_batch(model):
                self.processes.on_all_ranks(lambda: self._require_no_leak(loop.model))
                loop.run()
        self.trained = whole.gathered(model)
        return self.measured

    def _naming_the_batch(self, model: BaseLanguageModel) -> AbstractContextManager[None]:
        def when() -> str:
            return f"step {self.state.step + 1} ({self.state.on_disk()})"

        return naming_the_batch(self.config, model, rows=self.share.micro_batch, when=when)

    def _require_no_leak(self, model: BaseLanguageModel) -> None:
        training, prepared = self.config.training, self.prepared
        with compilation_disabled(model):
            require_no_leak(
                model,
                prepared.train,
                prepared.collator,
                prepared.objective,
                causal=OBJECTIVES[training.objective].requires_causal,
                carry_state=training.carry_state,
                half=training.mixed_precision in ("bf16", "fp16"),
                loss_without_logits=training.speed.loss_without_logits,
            )

    def _say_where_it_begins(self) -> None:
        number, checkpoint = self.start.attempt, self.start.checkpoint
        if checkpoint is not None:
            logger.info("attempt %d goes on from %s", number, checkpoint.path)
        elif number > 1:
            logger.info("attempt %d begins again: there was no checkpoint yet", number)

    def _checkpointing(
        self, record: Record, whole: ReplicatedState, carried: CarriedState | None
    ) -> Checkpointing:
        return Checkpointing(
            config=self.config,
            run=self.run,
            tokenizer=self.prepared.tokenizer,
            identity=self.identity,
            start=self.start,
            state=self.state,
            log=self.log,
            record=record,
            losses=self.losses,
            whole=whole,
            carried=carried,
            scaler=self.accelerator.scaler,
            processes=self.processes,
        )

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

    def _whole(self, model: BaseLanguageModel) -> ReplicatedState:
        training = self.config.training
        if training.distributed.strategy == "ddp":
            return ReplicatedState()
        return ShardedState(model, self.processes, lambda whole: build_optimizer(whole, training))

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
            process=self.processes.rank,
            processes=self.processes.world_size,
        )

    def _evaluate(self, model: BaseLanguageModel) -> Mapping[str, float]:
        validation = self.prepared.validation
        self.measured = measure(self.config, self.prepared, validation, model, self.processes)
        if math.isfinite(self.measured["loss"]):
            self.losses[self.state.step] = self.measured["loss"]
        return self.measured

    @contextmanager
    def _diagnosing(self) -> Iterator[None]:
        try:
            yield
        except NonFiniteError as error:
            diagnosed = error
            raise self.processes.on_rank0(lambda: self._diagnosed(diagnosed)) from error

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
    losses = ((line["step"], line["eval/loss"]) for line in lines)
    return {step: loss for step, loss in losses if loss is not None and math.isfinite(loss)}
