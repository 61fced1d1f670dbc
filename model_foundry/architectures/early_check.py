"""A trial of the architectures of this package: faults that follow from the settings alone."""

from typing import Any

import torch

from model_foundry.architectures.base_model import CountedModel
from model_foundry.architectures.memory import naming_the_model, require_memory
from model_foundry.config import ARCHITECTURES, OBJECTIVES, ExperimentConfig


@naming_the_model(None)
def try_settings(
    cls: Any, config: ExperimentConfig, device: torch.device, arguments: dict[str, Any]
) -> None:
    """Create a model without memory for its weights, and one with it if its class runs itself.

    Args:
        cls: a class of models that read tokens.
        device: of the training.
        arguments: of `from_config`: a tiny vocabulary with special tokens.

    Raises:
        ConfigError: no model can be made of these settings.
        MemoryExhaustedError: it does not fit into the memory, even without the vocabulary.
    """
    with torch.device("meta"):
        model = cls.from_config(config, **arguments)
    learns = not isinstance(model, CountedModel)
    # on a GPU, the gradients are in its own memory
    require_memory(model, config, trains=learns and device.type == "cpu")
    spec, objective = (
        ARCHITECTURES[config.model.architecture],
        OBJECTIVES[config.training.objective],
    )
    has_no_other_head = objective.model_kind == spec.kind
    if config.training.gradient_checkpointing and learns and has_no_other_head:
        model.require_gradient_checkpointing()
    if cls.runs_when_created:
        cls.from_config(config, **arguments)
