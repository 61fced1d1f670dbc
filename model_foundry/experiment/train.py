"""The story of an experiment, from its configuration to its final model.

config -> examples of the objective -> model -> training loop -> measurements
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from model_foundry.architectures import BaseModel, CountedModel
from model_foundry.architectures.plugin_check import check_without_data
from model_foundry.config import ExperimentConfig, checked_again, experiment_of, save_config
from model_foundry.experiment.attempt import Attempt
from model_foundry.experiment.auto_settings import settle
from model_foundry.experiment.debug_settings import debug_process, make_room, starts_over
from model_foundry.experiment.limits import limited_splits
from model_foundry.experiment.result import RunResult, completed_result, finish
from model_foundry.experiment.resume import (
    ResumePoint,
    check_resumable,
    find_resume_point,
    initial_weights,
    make_fingerprint,
    require_divisible,
    require_one_run,
)
from model_foundry.experiment.resume_hint import resume_hint
from model_foundry.experiment.run_context import make_context
from model_foundry.experiment.run_directory import Record, RunDirectory, running
from model_foundry.experiment.run_length import check_length
from model_foundry.experiment.tracking import check_trackers
from model_foundry.foundation.atomic_files import commit_directory, find_damage, write_text
from model_foundry.foundation.environment_variables import without_variables
from model_foundry.foundation.interrupts import handle_signals, report_on_disk
from model_foundry.foundation.plugins import plugin_errors
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.model import create_model, initialize
from model_foundry.objectives import Prepared
from model_foundry.objectives.plugin_results import require_plain_data
from model_foundry.objectives.preparation import prepare_on_all
from model_foundry.objectives.processors import TOKENIZER, TextTokenizer
from model_foundry.run_reports.reporters import MakeReporter, reporter_for
from model_foundry.training.context import RunContext
from model_foundry.training.distributed import (
    joined,
    lost_peer_as_worker_error,
    name_layers,
    start_accelerator,
)
from model_foundry.training.profiler.step_profile import StepProfile
from model_foundry.training.sinks import Sink, Sinks

logger = logging.getLogger(__name__)


def train(
    config: ExperimentConfig | str | Path,
    *,
    fresh: bool = False,
    extend: bool = False,
    lock: bool = True,
    profile: StepProfile | None = None,
    sinks: Sequence[Sink] = (),
    make_reporter: MakeReporter = reporter_for,
) -> RunResult:
    """Run an experiment from its corpus to its final model, or resume it bit for bit.

    Processes that a launcher has started train one run, which rank 0 writes.

    Args:
        config: the experiment, or the path of its file.
        fresh: move an existing run in the output directory to `<dir>.old-N` first.
        extend: resume a run whose length has been raised.
        lock: false on a file system without locks; nothing else may then write there.
        profile: profiles some of the steps; None: as `debug.profiler` says, into the log.
        sinks: receive the measurements of the log too, and are closed at the end.
        make_reporter: makes what shows the progress; by default a panel on a terminal, else lines.

    Raises:
        ConfigError: the settings contradict each other or this machine.
        DataError: the corpus or the tokenizer cannot be used; nothing was written.
        CheckpointError: there is a run, and none of its checkpoints is whole.
        ResumeError: there is a run, and its data or settings have changed.
        LockedError: another process uses the output directory.
        NonFiniteError, SaveError: training diverged; a file could not be written.
        WorkerError: a data worker, or another process of the run, has died or hangs.
        MemoryExhaustedError: the model and a batch do not fit into memory.
        Interrupted: a signal came; the same call resumes.
        TypeError: an argument is no experiment, or a sink is no `Sink`.
    """
    check_trackers(config := checked_again(experiment_of(config)))
    run, given = RunDirectory(config.output_dir), Sinks(sinks)
    with (
        handle_signals(),
        resume_hint(starts_over=starts_over(config)),
        without_variables(),
        debug_process(config),
        joined(config.training) as processes,
        ExitStack() as held,
    ):
        further = given if processes.is_rank0 else Sinks()
        attempt = partial(Attempt, profile=profile, sinks=further, make_reporter=make_reporter)
        hold = partial(_hold, run, held, lock=lock)
        with closing(further):  # while the directory is locked: trackers write into it
            return _run(config, run, processes, hold, attempt, fresh=fresh, extend=extend)


def _run(
    config: ExperimentConfig,
    run: RunDirectory,
    processes: ProcessGroup,
    hold: Callable[[], None],
    make_attempt: Callable[..., Attempt],
    *,
    fresh: bool,
    extend: bool,
) -> RunResult:
    """Prepare, train and measure, on every process; `hold` locks the run directory."""
    processes.on_rank0(hold)
    config, notes = processes.on_all_ranks(settle, config)
    accelerator = processes.on_all_ranks(start_accelerator, config.training, processes)
    fresh = fresh or config.debug.start_over
    start = processes.on_rank0(find_resume_point, run, config, fresh=fresh)
    weights = processes.on_all_ranks(initial_weights, config, start)
    processes.on_rank0(check_without_data, config, accelerator.device)
    require_divisible(config, start, world_size=processes.world_size)
    prepared = prepare_on_all(processes, config, kept=start.path)
    fingerprint = processes.on_all_ranks(
        make_fingerprint,
        config,
        prepared,
        accelerator.device,
        initial=weights,
        world_size=processes.world_size,
    )
    require_one_run(processes, fingerprint)
    processes.on_rank0(check_resumable, run, config, start.checkpoint, fingerprint, extend=extend)
    result = processes.on_rank0(completed_result, config, run, prepared, start, fingerprint)
    if result is not None:
        return result
    check_length(config, prepared, fingerprint.total_steps)
    model = _create_model(config, prepared, accelerator, processes)
    initial = _initialize(model, config, prepared, processes, start)
    context = make_context(
        config, prepared, fingerprint, start=start, accelerator=accelerator, processes=processes
    )
    attempt = make_attempt(run, prepared, context=context, fingerprint=fingerprint, start=start)
    begun = _begun(attempt, hold, notes, model.num_positions, initial, fresh=fresh)
    with ExitStack() as beginning, _naming_lost_peers(context), plugin_errors():
        attempt.train(model, lambda: beginning.enter_context(begun))
        return finish(attempt, model)


def _hold(run: RunDirectory, held: ExitStack, *, lock: bool) -> None:
    """Lock the run directory until `held` is closed."""
    run.require_usable()
    held.enter_context(run.held(lock=lock))


def _create_model(
    config: ExperimentConfig, prepared: Prepared, accelerator: Accelerator, processes: ProcessGroup
) -> BaseModel:
    arguments = prepared.objective.model_arguments(prepared.processors)
    model = processes.on_all_ranks(create_model, config, **arguments)
    if config.training.gradient_checkpointing and not isinstance(model, CountedModel):
        processes.on_all_ranks(model.require_gradient_checkpointing)
    name_layers(accelerator, model)
    logger.info(
        "model: %s, %s parameters", config.model.architecture, f"{model.get_parameter_count():,}"
    )
    return model


def _initialize(
    model: BaseModel,
    config: ExperimentConfig,
    prepared: Prepared,
    processes: ProcessGroup,
    start: ResumePoint,
) -> dict[str, Any] | None:
    """Give the model of a new run the weights that it begins with; return the report on them."""
    if start.checkpoint is not None:
        return None
    found = prepared.processors.items()
    tokenizers = {role: each.tokenizer for role, each in found if isinstance(each, TextTokenizer)}
    return processes.on_all_ranks(initialize, model, config, tokenizers)


def _write_config(
    config: ExperimentConfig, run: RunDirectory, prepared: Prepared, notes: list[str]
) -> None:
    if config.tokenizer.path is not None and TOKENIZER in prepared.processors:
        config = config.model_copy(deep=True)
        config.tokenizer.vocab_size = len(prepared.tokenizer)
    summary = prepared.objective.summary(prepared)
    require_plain_data(type(prepared.objective), "summary", summary)
    write_text(run.config_file, save_config(config, notes))
    limited = limited_splits(config, prepared)
    for split, read in limited.items():
        logger.info("debug: %s reads %s", split, read)
    run.write_measurement("data", summary | ({"limited": limited} if limited else {}))


def _save_processors(
    run: RunDirectory, prepared: Prepared, positions: int | None, start: ResumePoint
) -> None:
    """Write each processor into a directory named by its role, unless the run already has it."""
    for role, processor in prepared.processors.items():
        place = run.path / role
        if start.checkpoint is None or find_damage(place) is not None:
            with commit_directory(place) as aside:
                processor.save(aside, positions=positions, alone=True)


@contextmanager
def _begun(
    attempt: Attempt,
    hold: Callable[[], None],
    notes: list[str],
    positions: int | None,
    initial: dict[str, Any] | None,
    *,
    fresh: bool,
) -> Iterator[Record]:
    """Write the first files of an attempt, and its status for the length of the block.

    Args:
        positions: the maximum length of the model's inputs; None: any.
        initial: the report on the weights that the run begins with; None: they are random.
        fresh: move an earlier run aside first.
    """
    run, context, start = attempt.run, attempt.context, attempt.start
    processes = context.processes
    if fresh:
        processes.on_rank0(make_room, run, hold)
    processes.on_rank0(_write_config, context.config, run, attempt.prepared, notes)
    if initial is not None:
        processes.on_rank0(run.write_measurement, "initial_weights", initial)
    recording = (
        running(run, context.state, start.run_id, attempt=start.attempt, facts=attempt.facts)
        if processes.is_rank0
        else nullcontext(lambda: None)
    )
    hint = resume_hint(fresh=fresh, starts_over=starts_over(context.config))
    with hint, recording as record:
        processes.on_rank0(_save_processors, run, attempt.prepared, positions, start)
        yield record


@contextmanager
def _naming_lost_peers(context: RunContext) -> Iterator[None]:
    """Name the step and the last checkpoint in errors about another process, and about signals.

    Raises:
        WorkerError: another process is gone or hangs.
    """
    state, limit = context.state, context.config.training.distributed.timeout_minutes
    lost_peer = lost_peer_as_worker_error(
        lambda: f"step {state.step + 1}", timedelta(minutes=limit), state.on_disk
    )
    with lost_peer, report_on_disk(state.on_disk):
        yield
