"""Refusal of models that exceed the memory of the machine, before and while they are made.

A system that runs out of memory ends the process without a message, so weights are counted first,
on the meta device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from torch import nn

from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.errors import MemoryExhaustedError, is_out_of_memory
from model_foundry.foundation.hardware import memory_bytes
from model_foundry.foundation.messages import size_of_bytes

SIZES: Final = ("hidden_size", "intermediate_size", "num_hidden_layers")
"""Fields of transformers that decide most about the number of parameters."""


def require_memory(model: nn.Module, config: ExperimentConfig, *, trains: bool = False) -> None:
    """Require that the weights of a model fit into the memory of this machine.

    Args:
        model: on the meta device.
        config: the experiment that it is made of.
        trains: count a gradient for each weight that is trained, too.

    Raises:
        MemoryExhaustedError: they do not.
    """
    parameters = list(model.parameters())
    needed = sum(each.nbytes * (1 + (trains and each.requires_grad)) for each in parameters)
    available = memory_bytes()
    if available is None or needed <= available:
        return
    name = getattr(config.model.section, "model_type", config.model.architecture)
    of_what = "weights and gradients" if trains else "weights"
    raise MemoryExhaustedError(
        f"model: {name} has {sum(each.numel() for each in parameters):,} "
        f"parameters with these settings, whose {of_what} take {size_of_bytes(needed)}, but this "
        f"machine has {size_of_bytes(available)} of memory; {_remedy(model, config)}"
    )


def _remedy(model: Any, config: ExperimentConfig) -> str:
    """Return the settings to lower; of a model type of transformers, with their values."""
    section = ARCHITECTURES[config.model.architecture].section
    if section != "huggingface":
        return f"lower the sizes in {f'model.{section}' if section else 'the model'}"
    names = [model.hf_config.attribute_map.get(name, name) for name in SIZES]
    values = ((name, getattr(model.hf_config, name, None)) for name in names)
    sizes = ", ".join(f"{name} (={value})" for name, value in values if value is not None)
    return f"set the sizes in model.huggingface, such as {sizes or 'its layers'}"


def require_memory_left(error: BaseException, directory: Path) -> None:
    """Raise a `MemoryExhaustedError` for an error of loading that says that memory ran out."""
    if is_out_of_memory(error):
        message = (
            f"{directory}: out of memory while the model was loaded; free some, or load another"
        )
        raise MemoryExhaustedError(message) from error


@contextmanager
def naming_the_model(vocabulary: int | None) -> Iterator[None]:
    """Raise a `MemoryExhaustedError` if the model that the block creates exceeds the memory.

    Args:
        vocabulary: rows of its embedding matrix; None: it has none.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        rows = f"with a vocabulary of {vocabulary:,} " if vocabulary else ""
        raise MemoryExhaustedError(
            f"out of memory while the model was created, before any batch: {rows}its weights alone "
            "do not fit; lower the sizes of model.*"
            f"{' or tokenizer.vocab_size' if vocabulary else ''}"
        ) from error
