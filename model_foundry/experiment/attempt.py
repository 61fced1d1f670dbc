"""One attempt at a run: its training, from its resume point to its last step.

A run may take several attempts; `resume` decides where each one starts.
"""

import logging
import math
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import KW_ONLY, dataclass, field

from model_foundry.architectures import BaseModel
from model_foundry.architectures.compilation import compilation_disabled
from model_foundry.config import TrainingConfig
from model_foundry.data.batches.loaders import Batch, training_batches
from model_foundry.experiment.checkpointer import Checkpointer
from model_foundry.experiment.diagnosis import writing_diagnosis
from model_foundry.experiment.limits import Evaluated, trained_examples
from model_foundry.experiment.measure_split import evaluate
from model_foundry.experiment.profiling import asked_profile, warn_if_too_short
from model_foundry.experiment.resume import ResumePoint
from model_foundry.experiment.run_directory import Record, RunDirectory
from model_foundry.experiment.tracking import add_trackers
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.foundation.random_state import seed_of_process, seeded
from model_foundry.objectives import Prepared
from model_foundry.objectives.trial import check_task
from model_foundry.run_reports.reporters import MakeReporter, reporter_for
from model_foundry.run_reports.run_files import RunFacts
from model_foundry.run_reports.run_view import RunView
from model_foundry.training.activations import activation_figures
from model_foundry.training.anomalies import naming_anomalies
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.checkpoint.sharded import ReplicatedState, ShardedState
from model_foundry.training.context import RunContext
from model_foundry.training.debug_log import DebugLogHook
from model_foundry.training.early_stopping import EarlyStoppingHook
from model_foundry.training.evaluate_hook import EvaluateHook
from model_foundry.training.hooks import Hook, LogHook, ReportHook, SaveHook
from model_foundry.training.learner import counts
from model_foundry.training.loop import Loop
from model_foundry.training.lr_schedule import try_schedule
from model_foundry.training.metrics_log import MetricsLog, read_metrics
from model_foundry.training.optimizer import build_optimizer, try_update
from model_foundry.training.out_of_memory import naming_the_batch
from model_foundry.training.profiler.step_profile import StepProfile
from model_foundry.training.reporting import Reporter
from model_foundry.training.run_fingerprint import RunFingerprint
from model_foundry.training.sinks import Sinks
from model_foundry.training.weight_average import AverageHook, WeightAverage

logger = logging.getLogger(__name__)


@dataclass
class Attempt:
    """The training of a run, from its resume point to its last step."""

    run: RunDirectory
    prepared: Prepared
    _: KW_ONLY
    context: RunContext
    fingerprint: RunFingerprint
    start: ResumePoint
    profile: StepProfile | None = None
    """Profiles some of the steps, on rank 0; None: as `debug.profiler` says, into the log."""
    sinks: Sinks | None = None
    """Receive the measurements beside the log, on rank 0."""
    make_reporter: MakeReporter = reporter_for
    """Makes what shows the progress, on rank 0."""
    facts: RunFacts = field(init=False)
    """The facts that reports of this run name."""
    record: Record = field(init=False)
    """Writes the status of the run."""
    trained: BaseModel = field(init=False)
    """The trained model; if weights are sharded, complete on rank 0 only."""
    average: WeightAverage | None = field(init=False, default=None)
    """The average of its weights; None: there is none."""
    measured: dict[str, float] = field(init=False, default_factory=dict)
    """Figures of the last evaluation."""
    values: dict[int, float] = field(init=False, default_factory=dict)
    """The metric by step that decides which checkpoint is the best."""

    def __post_init__(self) -> None:
        self.sinks = Sinks() if self.sinks is None else self.sinks
        self._tracking: list[Hook] = []
        if self.context.processes.is_rank0:
            config = self.context.config
            self._tracking = add_trackers(self.sinks, config, self.run, self.prepared)
        self.log = MetricsLog(
            self.run.metrics_file,
            attempt=self.start.attempt,
            before_writing=self.run.require_held,
            sinks=self.sinks,
        )

    @property
    def _training(self) -> TrainingConfig:
        return self.context.config.training

    def train(self, model: BaseModel, begin: Callable[[], Record]) -> dict[str, float]:
        """Train the model and return the figures of its last evaluation.

        Args:
            begin: called before anything is written, once all that can fail without a step has
                succeeded; returns what writes the status of the run after each checkpoint.
        """
        context, checkpoint = self.context, self.start.checkpoint
        decay = context.config.training.ema_decay
        if decay is not None and not counts(context):
            self.average = WeightAverage(model, decay)
        self._log_start()
        self.facts = self._facts(model)
        checkpointer = self._checkpointer(model)
        rank = context.processes.rank
        with (
            seeded(seed_of_process(context.config.seeds.dropout, rank)),
            closing(self._batches()) as batches,
            blocking_section("the training"),
            self._reporter() as self.log.reporter,
            writing_diagnosis(self.run, context),
            naming_anomalies(
                model, lambda: context.state.step + 1, active=context.config.debug.detect_anomaly
            ),
        ):
            loop = Loop(
                model,
                self.prepared.objective,
                batches,
                context=context,
                hooks=self._hooks(checkpointer),
                units=self.prepared.train.units,
                carried=checkpointer.carried,
            )
            if checkpoint is not None:
                checkpointer.restore(checkpoint, loop.training)
            rows = context.split.micro_batch
            with naming_the_batch(context.config, model, rows=rows, when=self._when):
                context.processes.on_all_ranks(self._check_model, loop.training.model)
                self.record = begin()
                self.values.update(context.processes.on_rank0(self._rewind_log))
                loop.run()
        self.trained = checkpointer.weights.gather_model(model)
        return self.measured

    def _reporter(self) -> Reporter:
        if not self.context.processes.is_rank0:
            return Reporter()
        state, start = self.context.state, self.start
        view = RunView(self.facts, step=state.step, attempt=start.attempt)
        view.begin(time.time())
        return self.make_reporter(view)

    def _facts(self, model: BaseModel) -> RunFacts:
        config, objective = self.context.config, self.prepared.objective
        best_metric, greater_is_better = objective.best_metric
        return RunFacts(
            name=config.experiment_name,
            architecture=config.model.architecture,
            total_steps=self.context.total_steps,
            parameters=model.get_parameter_count(),
            best_metric=best_metric,
            greater_is_better=greater_is_better,
            details=tuple(sorted(objective.details)),
            saves=config.training.save_strategy != "no",
        )

    def _hooks(self, checkpointer: Checkpointer) -> list[Hook]:
        patience = self._training.early_stopping_patience
        saves = self._training.save_strategy != "no"
        hooks: list[Hook] = [
            DebugLogHook(),
            *([AverageHook(self.average)] if self.average else []),
            LogHook(self.log),
            *([SaveHook(checkpointer.save, self.log)] if saves else []),
            ReportHook(self.log.reporter),
            EvaluateHook(
                self._evaluate,
                self.prepared.objective.best_metric,
                self.log,
                self._observe if self.context.config.tracking.activations else None,
            ),
            *([EarlyStoppingHook(patience)] if patience is not None else []),
            *self._tracking,
        ]
        profile = self.profile or asked_profile(self.context.config)
        if profile is not None and self.context.processes.is_rank0:
            left = self.context.total_steps - self.context.state.step
            warn_if_too_short(profile, steps=left)
            hooks.insert(0, profile)
        return hooks

    def _checkpointer(self, model: BaseModel) -> Checkpointer:
        context, training = self.context, self.context.config.training
        carried = None
        if training.carry_state:
            carried = CarriedState(
                model,
                micro_batches=context.split.micro_batches,
                rows=context.split.micro_batch,
                processes=context.processes,
            )
        weights = ReplicatedState()
        if training.distributed.strategy == "fsdp2":
            weights = ShardedState(
                model, context.processes, lambda whole: build_optimizer(whole, training)
            )
        return Checkpointer(
            context=context,
            run=self.run,
            processors=self.prepared.processors,
            fingerprint=self.fingerprint,
            start=self.start,
            log=self.log,
            record=lambda: self.record(),
            values=self.values,
            greater_is_better=self.prepared.objective.best_metric[1],
            weights=weights,
            carried=carried,
            average=self.average,
        )

    def _batches(self) -> Generator[Batch]:
        context, config = self.context, self.context.config
        return training_batches(
            trained_examples(config, self.prepared),
            self.prepared.collate,
            context.split,
            seed=config.seeds.data,
            steps=range(context.state.step, context.total_steps),
            workers=config.training.dataloader_num_workers,
            streams=self.prepared.objective.streams,
            passes=config.training.epochs if counts(context) else None,
        )

    def _when(self) -> str:
        return f"step {self.context.state.step + 1} ({self.context.state.on_disk()})"

    def _check_model(self, model: BaseModel) -> None:
        training = self.context.config.training
        if not counts(self.context):
            try_schedule(training)
        with compilation_disabled(model):
            check_task(model, self.prepared, lambda model: try_update(model, training))

    def _log_start(self) -> None:
        number, checkpoint = self.start.attempt, self.start.checkpoint
        if checkpoint is not None:
            logger.info("attempt %d resumes from %s", number, checkpoint.path)
        elif number > 1:
            logger.info("attempt %d starts from the beginning: there was no checkpoint", number)

    def _rewind_log(self) -> dict[int, float]:
        """Cut the log back to the resume point; return the metric by step up to there."""
        step, checkpoint = self.context.state.step, self.start.checkpoint
        self.log.rewind(step)
        found = self.log.lines_before(step)
        if checkpoint is not None and found != checkpoint.state.log_lines:
            logger.warning(
                "%s: has %d lines up to step %d, but %d were written; the run resumes with these",
                *(self.run.metrics_file, found, checkpoint.step, checkpoint.state.log_lines),
            )
        return evaluated(self.run, self.prepared.objective.best_metric[0])

    def _evaluate(
        self, model: BaseModel, observing: AbstractContextManager[None]
    ) -> Mapping[str, float]:
        self.measured = self.measure("validation", model, observing)
        value = self.measured.get(self.prepared.objective.best_metric[0], math.nan)
        if math.isfinite(value):
            self.values[self.context.state.step] = value
        return self.measured

    def measure(
        self,
        split: Evaluated,
        model: BaseModel,
        observing: AbstractContextManager[None] | None = None,
    ) -> dict[str, float]:
        """Return the figures of a model on a split, and those of the average; see `evaluate`."""
        context = self.context
        given = (context.config, self.prepared, split, model, context.processes)
        return evaluate(*given, average=self.average, observing=observing)

    def _observe(self, model: BaseModel) -> AbstractContextManager[dict[str, float]]:
        is_rank0 = self.context.processes.is_rank0
        return activation_figures(model) if is_rank0 else nullcontext({})


def evaluated(run: RunDirectory, metric: str) -> dict[int, float]:
    """Return a metric of each evaluated step, except values that are not finite."""
    if not run.metrics_file.exists():
        return {}
    name = f"eval/{metric}"
    lines = (line for line in read_metrics(run.metrics_file) if name in line)
    values = ((line["step"], line[name]) for line in lines)
    return {step: value for step, value in values if value is not None and math.isfinite(value)}
