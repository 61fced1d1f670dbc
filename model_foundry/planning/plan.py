"""The plan of a run: data prepared, figures counted, memory tried, time measured if asked for."""

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import torch

from model_foundry.architectures import BaseModel, CountedModel
from model_foundry.architectures.plugin_check import check_without_data
from model_foundry.config import ExperimentConfig, experiment_of
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.errors import MemoryExhaustedError, is_out_of_memory
from model_foundry.experiment.auto_settings import settle
from model_foundry.experiment.limits import evaluated_examples
from model_foundry.experiment.run_length import check_length
from model_foundry.foundation.environment_variables import without_variables
from model_foundry.foundation.random_state import seeded
from model_foundry.model import compare_with_initial, initialize
from model_foundry.objectives import Prepared
from model_foundry.objectives.preparation import prepare
from model_foundry.objectives.processors import TextTokenizer
from model_foundry.planning.disk import checkpoint_bytes, model_bytes, plan_disk
from model_foundry.planning.figures import (
    Compute,
    Disk,
    LargestBatch,
    Length,
    Memory,
    Parameters,
    Plan,
    Schedule,
)
from model_foundry.planning.length import plan_length
from model_foundry.planning.memory import (
    Peaks,
    average_bytes,
    largest_batch,
    may_try,
    memory_before,
    plan_memory,
    tried_batch,
    try_rows,
)
from model_foundry.planning.parameters import count_parameters, operations_per_position
from model_foundry.planning.risks import count_vocabulary, risks_of
from model_foundry.planning.schedule import build_schedule
from model_foundry.planning.setup import Setup
from model_foundry.planning.timing import estimate_time, measure_costs
from model_foundry.planning.trial import Trial
from model_foundry.training.distributed import start_accelerator

LONG_READING: Final = 1.0  # seconds; what a cache can spare of less does not count
Announce = Callable[[str], None]


def _silent(doing: str) -> None:
    """Announce nothing."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """The findings of steps in memory."""

    memory: Memory
    peaks: Peaks | None = None
    """None: no step was made, as the model does not fit."""
    operations: float | None = None
    """Operations of the products in a step for each example; None: not known."""
    optimizer_tensors: int = 0
    batch: LargestBatch | None = None


@without_variables()
def build_plan(
    config: ExperimentConfig,
    *,
    measure: bool = False,
    announce: Announce = _silent,
    started: float | None = None,
) -> Plan:
    """Plan a run: prepare its data, count, and try a few steps in memory.

    Nothing is written but the cache of the data.

    Args:
        measure: also train, evaluate and save for some seconds, for the time of the run.
        announce: called with what is done now.
        started: seconds that this process took for its imports, which the command of a run takes
            too; None: they are not counted.

    Raises:
        CheckpointError: the model of `model.init_from` is damaged.
        ConfigError: the settings contradict each other or this machine.
        DataError: the corpus or the tokenizer cannot be used.
        MemoryExhaustedError: a measured step does not fit into memory.
        Interrupted: a signal came.
    """
    config, _ = settle(experiment_of(config))
    begun = time.perf_counter()
    accelerator = start_accelerator(config.training)
    compare_with_initial(config)
    with suppress(MemoryExhaustedError):  # which is a figure of the plan
        check_without_data(config, accelerator.device)
    prepared, built = _read(config, announce, again=measure)
    setup = Setup(config, prepared, accelerator)
    length = plan_length(config, prepared)
    check_length(config, prepared, length.steps)
    schedule = build_schedule(config.training, length)
    model = _checked_model(setup)
    start = (started or 0.0) + time.perf_counter() - begun - built
    tried = _try(setup, model, announce, measure=measure)
    gc.collect()  # the models that were tried, before another is made
    costs = measure_costs(setup, announce) if measure and tried.peaks is not None else None
    plan = _plan(setup, model, tried, length, schedule)
    if costs is not None:
        tested = 0
        if prepared.test is not None:
            tested = len(evaluated_examples(config, prepared, "test"))
        models = _final_models(setup, model)
        found = estimate_time(costs, length, schedule, start=start, tested=tested, models=models)
        disk = _disk(setup, model, schedule, costs.checkpoint_bytes)
        plan = replace(plan, time=found, disk=disk)
    return replace(plan, risks=risks_of(plan, config, model.num_positions))


def _read(config: ExperimentConfig, announce: Announce, *, again: bool) -> tuple[Prepared, float]:
    """Return the data of an experiment, and the seconds that a run is spared as they are cached.

    Args:
        again: if reading took long, read a second time as the run will, to know these seconds.
    """
    announce("reading the data")
    begun = time.perf_counter()
    prepared = prepare(config)
    first = time.perf_counter() - begun
    if not again or first < LONG_READING:
        return prepared, 0.0
    del prepared  # two may not fit into memory
    announce("measuring: reading the prepared data")
    return prepare(config), first


def _checked_model(setup: Setup) -> BaseModel:
    """Return the model on the meta device, once it fits the settings as training requires.

    Raises:
        ConfigError: it does not.
    """
    config, found = setup.config, setup.prepared.processors.items()
    with torch.device("meta"):
        model = setup.new_model()
    if config.training.gradient_checkpointing and not isinstance(model, CountedModel):
        model.require_gradient_checkpointing()
    tokenizers = {role: each.tokenizer for role, each in found if isinstance(each, TextTokenizer)}
    initialize(model, config, tokenizers)
    return model


def _try(setup: Setup, model: BaseModel, announce: Announce, *, measure: bool) -> Tried:
    """Make steps with a few rows in memory, unless the model does not fit there.

    Args:
        model: on the meta device.
        measure: find the largest batch of a GPU by trying.
    """
    before, rows = memory_before(setup.accelerator.device), setup.context().split.micro_batch
    average = average_bytes(setup.averaged_weights(model))
    if may_try(model, before, average=average):
        announce("trying steps of a few rows")
        try:
            with seeded(setup.config.seeds.dropout):
                return _try_steps(setup, before, rows, announce if measure else None)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
    memory = plan_memory(model, None, None, rows=rows, before=before, average=average)
    return Tried(memory=memory)


def _try_steps(setup: Setup, before: Memory, rows: int, announce: Announce | None) -> Tried:
    """Make steps with a few rows in memory.

    Args:
        announce: find the largest batch of a GPU by trying, too; None: only estimate it.
    """
    model = setup.new_model()
    trial = Trial(setup, model, vocabulary=_vocabulary(setup))
    peaks = try_rows(trial, rows)
    average = average_bytes(setup.averaged_weights(model))
    memory = plan_memory(model, trial, peaks, rows=rows, before=before, average=average)
    rows_per_step = setup.config.training.rows_per_step
    batch = largest_batch(memory, peaks, rows_per_step=rows_per_step)
    tried = Tried(
        memory=memory,
        peaks=peaks,
        operations=trial.operations_per_row,
        optimizer_tensors=len(trial.optimizer_state),
        batch=batch,
    )
    if announce is not None and before.device == "cuda":
        announce("trying the largest batch")
        guess = rows if batch is None else batch.rows
        return replace(tried, batch=tried_batch(trial, guess, rows_per_step=rows_per_step))
    return tried


def _vocabulary(setup: Setup) -> int | None:
    """Return the width of the logits of a language model, if no other tensor is as wide."""
    arguments = setup.prepared.objective.model_arguments(setup.prepared.processors)
    size = arguments.get("vocab_size")
    with torch.device("meta"):
        shapes = {n for p in setup.new_model().parameters() for n in p.shape[1:]}
    return size if isinstance(size, int) and size not in shapes else None


def _plan(setup: Setup, model: BaseModel, tried: Tried, length: Length, schedule: Schedule) -> Plan:
    """Return a plan without risks and time."""
    config, train = setup.config, setup.prepared.train
    counted = count_parameters(model)
    vocabulary = None
    if isinstance(train, TokenExamples):
        vocabulary = count_vocabulary(train.stream, setup.prepared.tokenizer)
    return Plan(
        experiment_name=config.experiment_name,
        architecture=config.model.architecture,
        objective=config.training.objective,
        parameters=counted,
        length=length,
        compute=_compute(model, counted, length, tried.operations),
        memory=tried.memory,
        largest_batch=tried.batch,
        schedule=schedule,
        disk=_disk(setup, model, schedule, _checkpoint(setup, model, tried)),
        vocabulary=vocabulary,
        time=None,
        risks=[],
    )


def _checkpoint(setup: Setup, model: BaseModel, tried: Tried) -> int:
    beside = (tried.memory.optimizer or 0) + tried.memory.average
    tensors = tried.optimizer_tensors + len(setup.averaged_weights(model))
    return checkpoint_bytes(model_bytes(model, setup.prepared), beside, tensors)


def _final_models(setup: Setup, model: BaseModel) -> int:
    return 2 if setup.averaged_weights(model) else 1


def _disk(setup: Setup, model: BaseModel, schedule: Schedule, checkpoint: int) -> Disk:
    return plan_disk(
        setup.config.training,
        schedule,
        checkpoint=checkpoint,
        model=model_bytes(model, setup.prepared),
        models=_final_models(setup, model),
        run=setup.config.output_dir,
    )


def _compute(
    model: BaseModel, counted: Parameters, length: Length, per_example: float | None
) -> Compute:
    per_position, attention = operations_per_position(model, counted, length.row)
    each = per_example
    if per_position is not None and length.row is not None:
        each = per_position * length.row
    tokens = length.in_all.get("tokens")
    return Compute(
        per_position=per_position,
        attention=attention,
        counted_per_example=per_example,
        total=None if each is None else each * length.examples_per_step * length.steps,
        tokens_per_parameter=tokens / counted.total if tokens and counted.total else None,
    )
