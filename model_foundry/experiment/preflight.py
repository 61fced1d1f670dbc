"""`foundry validate`: everything that can be checked without training."""

import torch

from model_foundry.architectures.plugin_check import check_plugin_model
from model_foundry.config import ExperimentConfig
from model_foundry.data.corpus.splits import Split
from model_foundry.experiment.auto_settings import resolve_auto_settings
from model_foundry.experiment.prepare_data import load_named_tokenizer, objective_for, open_texts
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.environment_variables import without_variables
from model_foundry.foundation.process_pool import processes_for
from model_foundry.interventions.ai_step.step import check_ai_steps
from model_foundry.model import create_model
from model_foundry.tokenizer.tokenizer_factory import check_settings
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
    check_ai_steps(config.data.interventions)
    check_plugin_model(config, torch.device(device_type()))
    splits = open_texts(config)
    lines = [*notes, _describe_model(config)]
    if config.training.epochs is not None and config.training.warmup_steps:
        lines.append(
            f"not checked: training.warmup_steps (={config.training.warmup_steps}) against "
            f"training.epochs (={config.training.epochs}), whose number of steps is known only "
            "after tokenizing"
        )
    processes = processes_for(config.data.preprocessing_num_workers)
    for name in ("train", "validation", "test"):
        split: Split | None = getattr(splits, name)
        if split is not None:
            documents, characters = split.count(processes)
            lines.append(f"{name}: {documents:,} documents, {characters:,} characters")
    return lines


def _describe_model(config: ExperimentConfig) -> str:
    if config.tokenizer.path is None:
        check_settings(config.tokenizer)
        tokenizer = None
        size = f"the {config.tokenizer.vocab_size:,} entries that its tokenizer may have at most"
    else:
        tokenizer = load_named_tokenizer(config.tokenizer)
        objective_for(config, tokenizer)
        size = f"a vocabulary of {len(tokenizer):,}"
    with torch.device("meta"):
        model = create_model(config, tokenizer=tokenizer)
    parameters = model.get_parameter_count()
    return f"model: {config.model.architecture}, {parameters:,} parameters with {size}"
