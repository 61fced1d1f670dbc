"""A plugin's model tried on made-up rows before a text is read; its faults name a line."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from model_foundry.architectures.model_registry import MODEL_REGISTRY
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError, FoundryError, is_out_of_memory
from model_foundry.foundation.plugins import (
    LOADED_PLUGINS,
    describe_error,
    locate_class,
    locate_in_files,
)
from model_foundry.foundation.random_state import seeded

OURS = __name__.partition(".")[0]
ROWS, VOCABULARY = 2, 32  # of the trial; special tokens have the first ids


def require_complete(name: str, cls: type) -> None:
    """Refuse a class that leaves out what every model must have.

    Raises:
        TypeError: a method or property is abstract still.
    """
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise TypeError(
            f"{cls.__name__} cannot be architecture {name!r}: it does not "
            f"define {', '.join(missing)}."
        )


def try_out(config: ExperimentConfig, device: torch.device) -> None:
    """Make the model of a plugin and take one step of it on made-up rows; others are left alone.

    The model has the sizes of the experiment, but for a tiny vocabulary. No generator is moved.

    Raises:
        ConfigError: it cannot be made, raises something, or returns what is no output of a model.
    """
    cls = MODEL_REGISTRY[config.model.architecture]
    if cls.__module__.partition(".")[0] == OURS:
        return
    with seeded(0):
        _step(cls, config, device)


def _step(cls: Any, config: ExperimentConfig, device: torch.device) -> None:
    ids = torch.arange(ROWS * config.data.max_sequence_length, device=device)
    rows = (ids % VOCABULARY).view(ROWS, -1)
    roles = ("pad", "bos", "eos", "mask", "cls", "sep")
    special = {f"{role}_token_id": number for number, role in enumerate(roles)}
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.training.mixed_precision)
    precision = torch.autocast(device.type, dtype=dtype) if dtype else nullcontext()
    with _blamed_on(cls, "from_config"):
        model = cls.from_config(config, vocab_size=VOCABULARY, **special).to(device)
    with _blamed_on(cls, "forward"), precision:
        output = model(input_ids=rows, attention_mask=torch.ones_like(rows), labels=rows)
        _require_output(output, cls, (*rows.shape, VOCABULARY))
    with _blamed_on(cls, "forward"):
        output.loss.backward()
    with _blamed_on(cls, "forward", "without labels: "), precision, torch.no_grad():
        model(input_ids=rows)


def _require_output(output: Any, cls: type, expected: tuple[int, ...]) -> None:
    loss, logits = (getattr(output, name, None) for name in ("loss", "logits"))
    if not isinstance(loss, torch.Tensor) or loss.dim() != 0 or not loss.requires_grad:
        problem = "given labels, it returns no loss that is a scalar with a gradient"
    elif not isinstance(logits, torch.Tensor) or logits.dim() != 3:
        problem = "it returns no logits (batch, length, vocabulary)"
    elif logits.shape != expected:
        problem = f"its logits are of shape {tuple(logits.shape)}, must be {expected}: "
        problem += "(rows, tokens, vocabulary)"
    else:
        return
    raise ConfigError(f"plugin {locate_class(cls, 'forward')}: {cls.__name__}.forward: {problem}")


@contextmanager
def _blamed_on(cls: type, method: str, when: str = "") -> Iterator[None]:
    """Tell what a method of a class raises; it stands in a plugin or in a package of others."""
    try:
        yield
    except FoundryError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        files = [str(Path(inspect.getfile(cls)))] if cls.__module__ != "__main__" else []
        place = locate_in_files(error, *LOADED_PLUGINS, *files) or locate_class(cls, method)
        message = f"plugin {place}: {cls.__name__}.{method}: {when}{describe_error(error)}"
        raise ConfigError(message) from error
