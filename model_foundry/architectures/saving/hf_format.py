"""What is read of a HuggingFace model directory, and what is kept from transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from model_foundry.architectures.saving.native_format import CONFIG, Record
from model_foundry.errors import ConfigError

# Fields of a config.json by which transformers would fetch or patch something, or look for weights
# elsewhere. No model that is trained here has one.
REFUSED_FIELDS = (
    "quantization_config",
    "fusion_config",
    "kernel_config",
    "distributed_config",
    "per_layer_config",
    "transformers_weights",
)
# Which kernels run is the experiment's choice, and whose code belongs to a model is written anew.
IGNORED_FIELDS = (
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_experts_implementation",
    "auto_map",
)


def plain_fields(record: Record, directory: Path) -> Record:
    """Return the fields of a `config.json` that describe a model and nothing else.

    Raises:
        ConfigError: by one of them transformers would do more than make a model.
    """
    for field in REFUSED_FIELDS:
        if record.get(field) is not None:
            raise ConfigError(
                f"{directory / CONFIG}: {field} is not read; save the model again without it."
            )
    return {key: value for key, value in record.items() if key not in IGNORED_FIELDS}


def require_layers(hf_config: Any, tensors: Mapping[str, Tensor], directory: Path) -> None:
    """Refuse a number of layers that nothing could be built for, before it is tried.

    Raises:
        ConfigError: there are fewer tensors than layers.
    """
    layers = getattr(hf_config, "num_hidden_layers", 0)
    if layers > len(tensors):
        raise ConfigError(
            f"{directory / CONFIG}: has {layers:,} layers, but the weights are only "
            f"{len(tensors):,} tensors; save the model again."
        )
