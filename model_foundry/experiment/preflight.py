"""`foundry validate`: everything that can be checked without training."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from accelerate.utils import convert_outputs_to_fp32

from model_foundry.architectures import BaseModel, CountedModel
from model_foundry.architectures.plugin_check import check_without_data, is_ours
from model_foundry.architectures.restored import restored
from model_foundry.config import ARCHITECTURES, OPTIMIZERS, ExperimentConfig, TrainingConfig
from model_foundry.experiment.auto_settings import resolve_auto_settings
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.experiment.run_length import check_length, total_steps
from model_foundry.foundation.environment_variables import without_variables
from model_foundry.model import compare_with_initial, create_model, find_tokenizer, initialize
from model_foundry.objectives import Objective, Prepared
from model_foundry.objectives.base import Inspection
from model_foundry.objectives.forward_pass import Inputs
from model_foundry.objectives.plugin_results import require_plain_data
from model_foundry.objectives.preparation import inspect, objective_of
from model_foundry.objectives.processors import TOKENIZER
from model_foundry.objectives.trial import check_task, needs_trial, try_losses_and_metrics
from model_foundry.training.distributed import device_type, require_strategy
from model_foundry.training.lr_schedule import try_schedule
from model_foundry.training.optimizer import build_optimizer, try_update

ROWS_OF_A_TRIAL = 2


@without_variables()
def check(config: ExperimentConfig) -> list[str]:
    """Check everything that can be checked without training; return the findings, a line each.

    Raises:
        ConfigError: a setting is wrong, on this machine or on any.
        DataError: the corpus or the named tokenizer cannot be used.
    """
    device = device_type(config.training)
    config, notes = resolve_auto_settings(config, device_type=device)
    if device != "cuda":  # on GPUs, the launcher decides
        require_strategy(config.training)
    RunDirectory(config.output_dir).require_usable()
    compare_with_initial(config)
    check_without_data(config, torch.device(device))
    objective, found = objective_of(config), inspect(config)
    with torch.device("meta"):
        model = create_model(config, **found.model_arguments)
    parameters = model.get_parameter_count()
    tokenizer = find_tokenizer(config) if config.model.init_from else None
    initialize(model, config, {TOKENIZER: tokenizer} if tokenizer else None)
    if config.training.gradient_checkpointing and not isinstance(model, CountedModel):
        model.require_gradient_checkpointing()
    _try_plugins(config, objective, found)
    name = config.model.architecture
    lines = [*notes, f"model: {name}, {parameters:,} parameters with {found.sizes}"]
    if found.prepared is None:
        lines += _lengths_not_checked(config.training)
    return [*lines, *found.lines]


def _lengths_not_checked(training: TrainingConfig) -> Iterator[str]:
    """Yield a line for each setting whose law needs the number of examples."""
    reason = "whose number of steps is known only after the data are read"
    if training.epochs is not None and training.warmup_steps:
        yield (
            f"not checked: training.warmup_steps (={training.warmup_steps}) against "
            f"training.epochs (={training.epochs}), {reason}"
        )
    if training.max_steps is not None and training.min_epochs is not None:
        yield (
            f"not checked: training.max_steps (={training.max_steps}) against "
            f"training.min_epochs (={training.min_epochs}), {reason}"
        )


def _try_plugins(config: ExperimentConfig, objective: Objective, found: Inspection) -> None:
    """Try what a training tries before its first step, as far as a plugin takes part in it."""
    tries_figures = is_ours(type(objective)) and needs_trial(objective)  # others name their tensors
    own_optimizer = not is_ours(OPTIMIZERS.load(config.training.optimizer))
    by_gradient = ARCHITECTURES[config.model.architecture].trained_by == "gradient"
    if by_gradient:
        try_schedule(config.training)
    if found.prepared is None and not tries_figures and not own_optimizer:
        return
    model = create_model(config, **found.model_arguments).to(device_type(config.training))
    if by_gradient:
        build_optimizer(model, config.training)
    _compute_as_trained(model, config)
    if found.prepared is not None:
        _try_examples(config, model, found.prepared)
    elif tries_figures:
        inputs = _rows(config, found.model_arguments["vocab_size"])
        try_losses_and_metrics(objective, model, inputs, _update(config))
    elif by_gradient:
        with restored(model):
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter)
            try_update(model, config.training)


def _update(config: ExperimentConfig) -> Callable[[BaseModel], None]:
    return partial(try_update, config=config.training)


def _try_examples(config: ExperimentConfig, model: BaseModel, prepared: Prepared) -> None:
    objective = prepared.objective
    examples = objective.examples_per_pass(len(prepared.train))
    check_length(config, prepared, total_steps(config, examples=examples))
    require_plain_data(type(objective), "summary", objective.summary(prepared))
    check_task(model, prepared, _update(config))


def _compute_as_trained(model: BaseModel, config: ExperimentConfig) -> None:
    """Make a model compute in the precision of its training, with fp32 outputs."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.training.mixed_precision)
    if dtype is not None:
        precise = torch.autocast(device_type(config.training), dtype=dtype)
        model.forward = convert_outputs_to_fp32(precise(model.forward))  # type: ignore[method-assign]


def _rows(config: ExperimentConfig, vocabulary: int) -> Inputs:
    """Return rows of text as losses and metrics of a language model see them."""
    ids = torch.arange(
        ROWS_OF_A_TRIAL * config.data.max_sequence_length, device=device_type(config.training)
    )
    rows = (ids % vocabulary).view(ROWS_OF_A_TRIAL, -1)
    return {"input_ids": rows, "labels": rows.clone(), "scored_bytes": torch.ones_like(rows)}
