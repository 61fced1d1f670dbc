"""HuggingFace model directories: checks of their content, and loading it with transformers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers.utils import logging

from model_foundry.architectures.saving.native_format import CONFIG, Record
from model_foundry.errors import ConfigError

# Fields of a config.json that make transformers download or patch something, or load weights from
# elsewhere. No model trained here has one.
REFUSED_FIELDS = (
    "quantization_config",
    "fusion_config",
    "kernel_config",
    "distributed_config",
    "per_layer_config",
    "transformers_weights",
)
# The experiment chooses the kernels, and auto_map is written again on saving.
IGNORED_FIELDS = (
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_experts_implementation",
    "auto_map",
)
LAYER_COUNTS = ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_decoder_layers")
"""Numbers of layers, by their names in transformers."""


def plain_fields(record: Record, directory: Path) -> Record:
    """Return the fields of a `config.json` that only describe a model.

    Raises:
        ConfigError: a field would make transformers do more than build a model.
    """
    for field in REFUSED_FIELDS:
        if record.get(field) is not None:
            raise ConfigError(
                f"{directory / CONFIG}: {field} is not read; save the model again without it."
            )
    return {key: value for key, value in record.items() if key not in IGNORED_FIELDS}


def require_layers(hf_config: Any, tensors: Mapping[str, Tensor], directory: Path) -> None:
    """Raise a `ConfigError` if there are fewer tensors than layers, before a model is built."""
    layers = max(getattr(hf_config, name, 0) for name in LAYER_COUNTS)
    if layers > len(tensors):
        raise ConfigError(
            f"{directory / CONFIG}: has {layers:,} layers, but the weights are only "
            f"{len(tensors):,} tensors; save the model again."
        )


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Disable the progress bars of transformers, which would disturb that of a run."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def from_tensors(hf_class: Any, hf_config: Any, tensors: dict[str, Tensor], kwargs: Record) -> Any:
    """Return a transformers model with these weights, and the report of its loading."""
    with without_progress_bars():
        return hf_class.from_pretrained(
            None,
            config=hf_config,
            # copies: the file is mapped, and the model must not change with it
            state_dict={name: tensor.clone() for name, tensor in tensors.items()},
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **kwargs,
        )
