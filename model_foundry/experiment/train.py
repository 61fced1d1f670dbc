"""One experiment from its file to its run directory: the only story that knows every part.

config -> documents -> tokenizer -> token streams -> model -> training loop -> measurements
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator

from model_foundry.architectures import BaseLanguageModel
from model_foundry.architectures.plugin_check import check_plugin_model
from model_foundry.config import (
    ExperimentConfig,
    experiment_of,
    save_config,
    settings_without_effect,
    validate,
)
from model_foundry.data.corpus.splits import Split
from model_foundry.errors import Interrupted
from model_foundry.experiment.attempt import Attempt
from model_foundry.experiment.auto_settings import resolve_auto_settings
from model_foundry.experiment.data_summary import data_summary
from model_foundry.experiment.prepare_data import (
    Prepared,
    load_named_tokenizer,
    objective_for,
    open_texts,
    prepare,
)
from model_foundry.experiment.result import RunResult, completed_result, finish
from model_foundry.experiment.resume import (
    ResumePoint,
    check_resumable,
    divide_steps,
    find_resume_point,
    make_fingerprint,
    require_one_run,
)
from model_foundry.experiment.run_directory import Record, RunDirectory, running
from model_foundry.foundation.atomic_files import commit_directory, find_damage, write_text
from model_foundry.foundation.environment_variables import overruled
from model_foundry.foundation.interrupts import handle_signals, leaving
from model_foundry.foundation.plugins import telling_of_plugins
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.foundation.process_pool import processes_for
from model_foundry.interventions.ai_step.step import check_ai_steps
from model_foundry.model import create_model
from model_foundry.tokenizer.saving import save_tokenizer
from model_foundry.tokenizer.tokenizer_factory import check_settings
from model_foundry.training.distributed import (
    BatchSplit,
    device_type,
    joined,
    lost_peer_as_worker_error,
    name_layers,
    require_strategy,
    start_accelerator,
)
from model_foundry.training.milestones import number_of_milestones
from model_foundry.training.out_of_memory import naming_the_model
from model_foundry.training.profiler.profile import Profile
from model_foundry.training.run_fingerprint import RunFingerprint

logger = logging.getLogger(__name__)

GO_ON = "run the same command again"


def train(
    config: ExperimentConfig | str | Path,
    *,
    fresh: bool = False,
    extend: bool = False,
    lock: bool = True,
    profile: Profile | None = None,
) -> RunResult:
    """Run an experiment from its corpus to its final model, or go on where it was interrupted.

    A run that was interrupted, in whatever way, and resumed is bit for bit the run that was not.
    Where a launcher has started several processes, they train one run, and main writes it.

    Args:
        config: the experiment, or the path of its file.
        fresh: move a run that already lies in the output directory to `<dir>.old-N` first.
        extend: go on with a run whose length was raised since it began.
        lock: false where the file system has no locks; nothing else may then write there.
        profile: looks at some of the steps; None: nothing does.

    Raises:
        ConfigError: the settings contradict each other or this machine.
        DataError: the corpus or the tokenizer cannot be used; nothing was written.
        CheckpointError: there is a run, and no checkpoint of it is whole.
        ResumeError: there is a run, and what it is trained from or with has changed.
        LockedError: another process works in the output directory.
        NonFiniteError: training diverged.
        SaveError: something could not be written.
        WorkerError: a process that prepares batches, or another one of the run, has died or hangs.
        MemoryExhaustedError: the memory does not suffice for the model and a batch.
        Interrupted: a signal came; the same call goes on from there.
    """
    config = experiment_of(config)
    config = validate(config.model_dump(exclude_unset=True), "config")  # as assigned by now
    run = RunDirectory(config.output_dir)
    with (
        handle_signals(),
        resume_hint(),
        overruled(),
        joined(config.training) as processes,
        ExitStack() as held,
    ):
        processes.on_rank0(lambda: _hold(run, held, lock=lock))
        config, notes = _settled(config, processes)
        accelerator = processes.on_all_ranks(lambda: start_accelerator(config.training, processes))
        start = processes.on_rank0(
            lambda: ResumePoint.anew() if fresh else find_resume_point(run, config)
        )
        processes.on_rank0(lambda: check_plugin_model(config, accelerator.device))
        share = divide_steps(config, start, processes=processes.world_size)
        prepared, identity = _read(config, start, processes, accelerator.device)

        def look() -> RunResult | None:
            check_resumable(run, config, start.checkpoint, identity, extend=extend)
            return completed_result(config, run, prepared, start, identity)

        if (result := processes.on_rank0(look)) is not None:
            return result
        _warn_of_no_milestone(config, prepared, identity)
        _warn_of_a_large_batch(config, prepared, identity)
        model = _new_model(config, prepared, accelerator, processes)
        if config.tokenizer.path is not None:
            config.tokenizer.vocab_size = len(prepared.tokenizer)
        if processes.world_size > 1:
            logger.info("%s", _division(share, processes))

        def begin() -> None:
            if fresh and (moved := run.move_aside()):
                logger.info("the run that was here is now %s", moved)
                _hold(run, held, lock=lock)  # the lock has moved away with the run
            _write_down(config, run, prepared, notes)

        processes.on_rank0(begin)
        attempt = Attempt(
            config,
            run,
            prepared,
            identity=identity,
            start=start,
            accelerator=accelerator,
            processes=processes,
            profile=profile,
        )
        with (
            resume_hint(fresh=fresh),
            _recorded(attempt, processes) as record,
            telling_of_plugins(),
        ):
            resumed = start.checkpoint is not None
            positions = model.num_positions
            processes.on_rank0(
                lambda: _keep_tokenizer(run, prepared, positions=positions, resumed=resumed)
            )
            measured = attempt.train(model, record)
            return finish(attempt, model, measured, processes)


@overruled()
def check(config: ExperimentConfig) -> list[str]:
    """Check everything that can be checked without training; return what was found, a line each.

    Raises:
        ConfigError: a law is broken, on this machine or anywhere.
        DataError: the corpus or a tokenizer that the experiment names cannot be used.
    """
    config, notes = resolve_auto_settings(config, device_type=device_type())
    if device_type() != "cuda":  # on GPUs, the launcher decides
        require_strategy(config.training)
    check_ai_steps(config.data.interventions)
    check_plugin_model(config, torch.device(device_type()))
    splits = open_texts(config)
    tokenizer = None
    if config.tokenizer.path is None:
        check_settings(config.tokenizer)
    else:
        tokenizer = load_named_tokenizer(config.tokenizer)
        objective_for(config, tokenizer)
    processes = processes_for(config.data.preprocessing_num_workers)
    with torch.device("meta"):
        model = create_model(config, tokenizer=tokenizer)
    size = (
        f"a vocabulary of {len(tokenizer):,}"
        if tokenizer
        else (f"the {config.tokenizer.vocab_size:,} entries that its tokenizer may have at most")
    )
    lines = [*notes, f"model: {_describe(config, model)} with {size}"]
    if config.training.epochs is not None and config.training.warmup_steps:
        lines.append(
            f"not checked: training.warmup_steps (={config.training.warmup_steps}) against "
            f"training.epochs (={config.training.epochs}), whose steps only tokenising tells"
        )
    for name in ("train", "validation", "test"):
        split: Split | None = getattr(splits, name)
        if split is not None:
            documents, characters = split.count(processes)
            lines.append(f"{name}: {documents:,} documents, {characters:,} characters")
    return lines


def _hold(run: RunDirectory, held: ExitStack, *, lock: bool) -> None:
    """Take the run directory until `held` is closed."""
    run.require_usable()
    held.enter_context(run.held(lock=lock))


def _settled(
    config: ExperimentConfig, processes: ProcessGroup
) -> tuple[ExperimentConfig, list[str]]:
    """Return an experiment with nothing left open; say why it is so, and what is set in vain."""
    for line in settings_without_effect(config):
        logger.warning("%s", line)
    settled, notes = processes.on_all_ranks(
        lambda: resolve_auto_settings(config, device_type=device_type())
    )
    for note in notes:
        logger.info("%s", note)
    return settled, notes


def _read(
    config: ExperimentConfig, start: ResumePoint, processes: ProcessGroup, device: torch.device
) -> tuple[Prepared, RunFingerprint]:
    """Return what training reads, the same in all processes, and what the run is."""
    kept = start.checkpoint.path if start.checkpoint else None
    prepared = processes.rank0_first(lambda: prepare(config, kept=kept))
    identity = processes.on_all_ranks(
        lambda: make_fingerprint(config, prepared, device, processes=processes.world_size)
    )
    require_one_run(processes, identity)
    return prepared, identity


def _new_model(
    config: ExperimentConfig, prepared: Prepared, accelerator: Accelerator, processes: ProcessGroup
) -> BaseLanguageModel:
    with naming_the_model(len(prepared.tokenizer)):
        model = processes.on_all_ranks(lambda: create_model(config, tokenizer=prepared.tokenizer))
    name_layers(accelerator, model)
    logger.info("model: %s", _describe(config, model))
    return model


def _write_down(
    config: ExperimentConfig, run: RunDirectory, prepared: Prepared, notes: list[str]
) -> None:
    """Write what is trained, and from what, into the run directory."""
    write_text(run.config_file, save_config(config, notes))
    run.write_measurement("data", data_summary(config, prepared))


def _division(share: BatchSplit, processes: ProcessGroup) -> str:
    rows = share.rows * processes.world_size
    return (
        f"{processes.world_size} processes divide the {rows} rows of a step; "
        f"forward passes of each: {share.micro_batches}, rows in a pass: {share.micro_batch}"
    )


@contextmanager
def _recorded(attempt: Attempt, processes: ProcessGroup) -> Iterator[Record]:
    """Keep the status of the run for the length of the block, in main.

    Raises:
        WorkerError: another process is gone or hangs.
    """
    state, start = attempt.state, attempt.start
    limit = timedelta(minutes=attempt.config.training.distributed.timeout_minutes)
    with ExitStack() as stack:
        record: Record = _no_record
        if processes.is_rank0:
            record = stack.enter_context(
                running(attempt.run, state, run_id=start.run_id, attempt=start.attempt)
            )
        lost = lost_peer_as_worker_error(lambda: f"step {state.step + 1}", limit, state.on_disk)
        stack.enter_context(lost)
        stack.enter_context(leaving(state.on_disk))
        yield record


def _no_record() -> None:
    return None


def _describe(config: ExperimentConfig, model: BaseLanguageModel) -> str:
    return f"{config.model.architecture}, {model.get_parameter_count():,} parameters"


@contextmanager
def resume_hint(*, fresh: bool = False) -> Iterator[None]:
    """Complete the message of an interruption, unless that was done already.

    Args:
        fresh: whether a new run was begun by now, which the same command would move aside.
    """
    try:
        yield
    except Interrupted as error:
        if GO_ON in str(error):
            raise
        without = ", but without --fresh," if fresh else ""
        raise Interrupted(f"{error}; {GO_ON}{without} to continue") from error


def _warn_of_no_milestone(
    config: ExperimentConfig, prepared: Prepared, identity: RunFingerprint
) -> None:
    blocks, marks = prepared.train, config.training.milestones
    share = identity.horizon * identity.blocks_per_step / len(blocks)  # of the text, passes counted
    words, tokens = (int(share * n) for n in (blocks.stream.words, len(blocks.stream)))
    number = number_of_milestones(marks, steps=identity.horizon, words=words, tokens=tokens)
    if marks.has_any and number == 0:
        logger.warning(
            "training.milestones has no effect: the run ends after %s steps, about %s words and "
            "%s tokens",
            *(f"{count:,}" for count in (identity.horizon, words, tokens)),
        )


def _warn_of_a_large_batch(
    config: ExperimentConfig, prepared: Prepared, identity: RunFingerprint
) -> None:
    step, text = identity.blocks_per_step, len(prepared.train)
    if step > text:
        logger.warning(
            "training.per_device_train_batch_size x gradient_accumulation_steps (=%s rows) is more "
            "than the %s rows of the training text: each step reads it %.3g times; make the batch "
            "smaller",
            *(f"{step:,}", f"{text:,}", step / text),
        )


def _keep_tokenizer(
    run: RunDirectory, prepared: Prepared, *, positions: int | None, resumed: bool
) -> None:
    """Put the tokenizer into the run directory, unless it lies there whole since the beginning."""
    if not resumed or find_damage(run.tokenizer) is not None:
        source = prepared.tokenizer_source
        with commit_directory(run.tokenizer) as aside:
            save_tokenizer(prepared.tokenizer, aside, positions=positions, source=source)
