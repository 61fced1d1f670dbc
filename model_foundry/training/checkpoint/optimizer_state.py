"""The state of any optimizer, as a checkpoint holds it: tensors in safetensors, numbers in JSON.

A value is found under `<parameter>/<name>`, and one that the optimizer has changed in a parameter
group under `param_groups/<index>/<name>`. The learning rate and the settings are not part of it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from model_foundry.config.error_messages import describe
from model_foundry.errors import CheckpointError, ConfigError
from model_foundry.training.optimizer import changed_values

TENSORS_FILE, NUMBERS_FILE = "optimizer.safetensors", "optimizer.json"
GROUPS = "param_groups"

Number = int | float | bool | None
Value = Tensor | Number


class _Numbers(BaseModel):
    """Content of `optimizer.json`."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    optimizer: str
    numbers: dict[str, bool | int | float | None]


@dataclass(frozen=True)
class OptimizerState:
    """Everything that an optimizer keeps from one update to the next."""

    optimizer: str
    """Class of the optimizer."""
    values: Mapping[str, Value] = field(default_factory=dict)
    """Tensors in host memory, and numbers, by key."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by key."""
        return {key: value for key, value in self.values.items() if isinstance(value, Tensor)}

    @property
    def numbers(self) -> dict[str, Number]:
        """The other values by key."""
        return {key: v for key, v in self.values.items() if not isinstance(v, Tensor)}

    def finite(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every value that must be finite as a tensor, with its key."""
        for key, value in self.values.items():
            if isinstance(value, Tensor):
                yield key, value
            elif isinstance(value, float):
                yield key, torch.tensor(value, dtype=torch.float64)


def named_values(model: nn.Module, optimizer: Optimizer) -> Iterator[tuple[str, Any]]:
    """Yield every value that an optimizer keeps, with its key.

    Raises:
        ConfigError: a checkpoint cannot hold one of them.
    """
    names: dict[Any, str] = {parameter: name for name, parameter in model.named_parameters()}
    for parameter, values in optimizer.state.items():
        if parameter not in names:
            raise _unstorable(optimizer, f"{parameter!r:.80}", "belongs to no parameter")
        for name, value in values.items():
            yield _key(optimizer, names[parameter], name, value), value
    for index, name, value in changed_values(optimizer):
        yield _key(optimizer, f"{GROUPS}/{index}", name, value), value


def _key(optimizer: Optimizer, owner: str, name: object, value: object) -> str:
    key = f"{owner}/{name}"
    if not isinstance(name, str) or "/" in name:
        raise _unstorable(optimizer, key, "has a name that is no text, or has a '/' in it")
    dense = isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized
    if not dense and type(value) not in (int, float, bool, type(None)):
        raise _unstorable(optimizer, key, f"is no dense tensor and no number ({type(value)})")
    return key


def _unstorable(optimizer: Optimizer, key: str, reason: str) -> ConfigError:
    return ConfigError(
        f"training.optimizer: {type(optimizer).__name__} keeps {key}, which {reason}; a checkpoint "
        "holds tensors, numbers, true, false and None of parameters and groups"
    )


def require_storable(model: nn.Module, optimizer: Optimizer) -> None:
    """Raise a `ConfigError` if a checkpoint cannot hold the state of an optimizer."""
    for _ in named_values(model, optimizer):
        pass


def capture(model: nn.Module, optimizer: Optimizer) -> OptimizerState:
    """Return the state of an optimizer, in host memory.

    Raises:
        ConfigError: a checkpoint cannot hold it.
    """
    values = {key: on_host(value) for key, value in named_values(model, optimizer)}
    return OptimizerState(type(optimizer).__name__, values)


def on_host(value: Any) -> Any:
    """Return a value as it is saved: a tensor contiguous and in host memory."""
    return value.detach().contiguous().cpu() if isinstance(value, Tensor) else value


def write_optimizer(directory: Path, state: OptimizerState) -> None:
    """Write the state of an optimizer; the checkpoint is not committed yet."""
    seen: set[int] = set()
    tensors = {key: _unshared(tensor, seen) for key, tensor in state.tensors.items()}
    save_file(tensors, directory / TENSORS_FILE)
    content = {"optimizer": state.optimizer, "numbers": state.numbers}
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    (directory / NUMBERS_FILE).write_text(text, encoding="utf-8")


def _unshared(tensor: Tensor, seen: set[int]) -> Tensor:
    """Return a tensor that shares no memory with those seen before, which safetensors refuses."""
    place = tensor.untyped_storage().data_ptr()
    shared = place in seen
    seen.add(place)
    return tensor.clone() if shared else tensor


def read_optimizer(directory: Path) -> OptimizerState:
    """Read the state of an optimizer.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    path = directory / TENSORS_FILE
    try:
        tensors = load_file(path)
        path = directory / NUMBERS_FILE
        found = _Numbers.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        field, said = describe(error, _Numbers)[0]
        raise CheckpointError(f"{path}: {field}: {said}") from error
    except (OSError, ValueError, SafetensorError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    if twice := tensors.keys() & found.numbers.keys():
        raise CheckpointError(f"{path}: {min(twice)} is a tensor and a number")
    return OptimizerState(found.optimizer, {**tensors, **found.numbers})
