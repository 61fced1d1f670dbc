"""Creation of the model of an experiment."""

from typing import Any

import torch
from torch import nn

from model_foundry.architectures.base import BaseLanguageModel
from model_foundry.architectures.base_model import BaseModel
from model_foundry.architectures.kernels.fused_activations import fuse_activations
from model_foundry.architectures.kernels.onednn_linear import use_onednn_linear
from model_foundry.architectures.memory import naming_the_model, require_memory
from model_foundry.architectures.model_registry import MODEL_REGISTRY
from model_foundry.architectures.plugin_check import is_ours
from model_foundry.architectures.saving import native_format
from model_foundry.config import ARCHITECTURES, OBJECTIVES, ExperimentConfig, SpeedConfig
from model_foundry.errors import ConfigError, DataError
from model_foundry.foundation.messages import short_repr
from model_foundry.foundation.plugins import plugin_errors, plugin_of
from model_foundry.foundation.random_state import seeded


def speed_up(model: nn.Module, speed: SpeedConfig) -> None:
    """Replace modules of a model by faster equivalents, as `training.speed` says."""
    if speed.fused_activations:
        fuse_activations(model)
    if speed.fp32_products == "onednn":
        use_onednn_linear(model)


def create_model_from_config(
    config: ExperimentConfig, *, freeze_body: bool = False, **arguments: Any
) -> BaseModel:
    """Create the model of an experiment, with random weights.

    Args:
        config: the experiment.
        freeze_body: see `BaseModel.freeze_body`.
        **arguments: those of the architecture's `from_config`, as plain JSON. Of a language model
            `vocab_size`, the length of the tokenizer (left out: `tokenizer.vocab_size`), and
            `pad_token_id` and the other special tokens of the tokenizer, by role, and whatever
            else its class takes.

    Raises:
        ConfigError: the architecture is not registered, or its section is missing.
        DataError: a special token is outside the vocabulary.
        MemoryExhaustedError: its weights do not fit into the memory.
    """
    name = config.model.architecture
    spec = ARCHITECTURES[name]
    if spec.section and getattr(config.model, spec.section, None) is None:
        raise ConfigError(f"Architecture {name!r} requires {spec.section!r} configuration")
    kind = OBJECTIVES[config.training.objective].model_kind
    cls, arguments = native_format.class_of(name, kind), native_format.as_json(arguments)
    if issubclass(MODEL_REGISTRY[name], BaseLanguageModel):
        arguments = _with_vocabulary(config, **arguments)
    with plugin_errors(), naming_the_model(arguments.get("vocab_size")):
        ours = is_ours(cls) and is_ours(MODEL_REGISTRY[name])
        if ours and torch.get_default_device().type != "meta":
            with seeded(0), torch.device("meta"):
                counted = cls.from_config(config, **arguments)
            require_memory(counted, config)
        model: BaseModel = cls.from_config(config, **arguments)
    if freeze_body:
        model.freeze_body()
    speed_up(model, config.training.speed)
    model.build_record = native_format.build_record(config, plugin_of(type(model)), **arguments)
    return model


def _with_vocabulary(
    config: ExperimentConfig, *, vocab_size: int | None = None, **arguments: Any
) -> dict[str, Any]:
    """Return the arguments of a language model, with its vocabulary size.

    Raises:
        DataError: the id of a special token, `..._token_id`, is none of the vocabulary.
    """
    vocab_size = config.tokenizer.vocab_size if vocab_size is None else vocab_size
    for role, token in arguments.items():
        if not role.endswith("_token_id") or token is None:
            continue
        if type(token) is not int or not 0 <= token < vocab_size:
            raise DataError(
                f"tokenizer: {role} (={short_repr(token)}) is outside the vocabulary of "
                f"{vocab_size} entries."
            )
    return {"vocab_size": vocab_size, **arguments}
