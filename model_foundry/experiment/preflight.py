"""`foundry validate`: everything that can be checked without training."""

import torch

from model_foundry.architectures.plugin_check import check_plugin_model
from model_foundry.config import ExperimentConfig
from model_foundry.experiment.auto_settings import resolve_auto_settings
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.environment_variables import without_variables
from model_foundry.model import create_model
from model_foundry.objectives.preparation import inspect
from model_foundry.objectives.trial import check_task
from model_foundry.training.distributed import device_type, require_strategy


@without_variables()
def check(config: ExperimentConfig) -> list[str]:
    """Check everything that can be checked without training; return the findings, a line each.

    Raises:
        ConfigError: a setting is wrong, on this machine or on any.
        DataError: the corpus or the named tokenizer cannot be used.
    """
    config, notes = resolve_auto_settings(config, device_type=device_type())
    if device_type() != "cuda":  # on GPUs, the launcher decides
        require_strategy(config.training)
    RunDirectory(config.output_dir).require_usable()
    check_plugin_model(config, torch.device(device_type()))
    found = inspect(config)
    with torch.device("meta"):
        parameters = create_model(config, **found.model_arguments).get_parameter_count()
    if found.prepared is not None:
        model = create_model(config, **found.model_arguments).to(device_type())
        check_task(model, found.prepared)
    name = config.model.architecture
    lines = [*notes, f"model: {name}, {parameters:,} parameters with {found.sizes}"]
    if config.training.epochs is not None and config.training.warmup_steps:
        lines.append(
            f"not checked: training.warmup_steps (={config.training.warmup_steps}) against "
            f"training.epochs (={config.training.epochs}), whose number of steps is known only "
            "after the data are read"
        )
    return [*lines, *found.lines]
