"""A trial of the architectures of this package: faults that follow from the settings alone."""

from typing import Any

import torch

from model_foundry.architectures.base_model import BaseModel, CountedModel
from model_foundry.architectures.memory import naming_the_model, require_memory
from model_foundry.config import ARCHITECTURES, OBJECTIVES, ExperimentConfig
from model_foundry.errors import ConfigError


def _require_positions(model: BaseModel, config: ExperimentConfig) -> None:
    """Raise a `ConfigError` unless the model has a position for each token of a row."""
    length, positions = config.data.max_sequence_length, model.num_positions
    if positions is not None and length > positions:
        begun = config.model.init_from is not None  # the weights have that many positions
        raise ConfigError(
            f"data.max_sequence_length (={length}) exceeds the {positions} positions of "
            f"{model.model_type!r} (max_position_embeddings); lower the first"
            f"{'' if begun else ' or raise the second'}"
        )


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
    _require_positions(model, config)
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
