"""Creation of the model of an experiment."""

from torch import nn

from model_foundry.architectures.base import BaseLanguageModel
from model_foundry.architectures.kernels.fused_activations import fuse_activations
from model_foundry.architectures.kernels.onednn_linear import use_onednn_linear
from model_foundry.architectures.model_registry import MODEL_REGISTRY
from model_foundry.architectures.modeling.functions_recurrent import WholeSequences
from model_foundry.architectures.saving import native_format
from model_foundry.config import ARCHITECTURES, ExperimentConfig, SpeedConfig
from model_foundry.errors import ConfigError, DataError
from model_foundry.foundation.plugins import plugin_errors, plugin_of


def speed_up(model: nn.Module, speed: SpeedConfig) -> None:
    """Replace modules of a model by faster equivalents, as `training.speed` says."""
    if speed.fused_activations:
        fuse_activations(model)
    if speed.fp32_products == "onednn":
        use_onednn_linear(model)
    for module in model.modules():
        if isinstance(module, WholeSequences):
            module.fused = speed.fused_recurrence


def create_model_from_config(
    config: ExperimentConfig, *, vocab_size: int | None = None, **ids: int | None
) -> BaseLanguageModel:
    """Create the model of an experiment, with random weights.

    Args:
        config: the experiment.
        vocab_size: rows of the embedding matrix, the length of the tokenizer; None:
            `tokenizer.vocab_size`.
        **ids: `pad_token_id` and the other special tokens of the tokenizer, by role.

    Raises:
        ConfigError: the architecture is not registered, or its section is missing.
        DataError: a special token is outside the vocabulary.
    """
    vocab_size = config.tokenizer.vocab_size if vocab_size is None else vocab_size
    name = config.model.architecture
    spec = ARCHITECTURES[name]
    if spec.section and getattr(config.model, spec.section, None) is None:
        raise ConfigError(f"Architecture {name!r} requires {spec.section!r} configuration")
    for role, token in ids.items():
        if token is not None and not 0 <= token < vocab_size:
            raise DataError(
                f"tokenizer: {role} (={token}) is outside the vocabulary of {vocab_size} entries."
            )
    with plugin_errors():
        model = MODEL_REGISTRY[name].from_config(config, vocab_size=vocab_size, **ids)
    speed_up(model, config.training.speed)
    model.build_record = native_format.build_record(
        config, plugin_of(type(model)), vocab_size=vocab_size, **ids
    )
    return model
