"""Giving an optimizer the state of a checkpoint, once it was found to fit."""

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement
from torch.optim import Optimizer

from model_foundry.errors import CheckpointError
from model_foundry.training.checkpoint.optimizer_state import (
    GROUPS,
    NUMBERS_FILE,
    TENSORS_FILE,
    Number,
    Value,
    read_optimizer,
)


@dataclass(frozen=True)
class Held:
    """A tensor that an optimizer holds, without its values."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device
    sharding: tuple[DeviceMesh, Sequence[Placement]] | None
    """Division among processes; None: none."""

    @classmethod
    def of(cls, value: Any) -> "Held | Number":
        """Return the description of a tensor; a number stands for itself."""
        if not isinstance(value, Tensor):
            return cast(Number, value)
        sharding = (value.device_mesh, value.placements) if isinstance(value, DTensor) else None
        return cls(value.shape, value.dtype, value.device, sharding)


Expected = Mapping[Any, Mapping[str, Held | Number]]
"""By parameter and name."""
Place = Callable[[str, Tensor, Held], Tensor]
"""From key, saved tensor, and the one that the optimizer holds there to the one it is given."""


def load_optimizer(directory: Path, model: nn.Module, optimizer: Optimizer) -> None:
    """Load the state of a checkpoint into the optimizer of a model.

    Raises:
        CheckpointError: the checkpoint is of another model or optimizer.
    """
    saved, name = read_optimizer(directory), type(optimizer).__name__
    if saved.optimizer != name:
        raise CheckpointError(
            f"{directory / NUMBERS_FILE}: is the state of {saved.optimizer}, not of {name}"
        )
    expected = state_after_update(optimizer)
    if fault := _misfit(model, optimizer, saved.values, expected):
        raise CheckpointError(f"{directory / TENSORS_FILE}: {fault}")
    set_state(model, optimizer, saved.values, expected, _place)


def set_state(
    model: nn.Module,
    optimizer: Optimizer,
    values: Mapping[str, Value],
    expected: Expected,
    place: Place,
) -> None:
    """Give an optimizer the state of a checkpoint, which fits it.

    Args:
        expected: see `state_after_update`.
    """
    parameters, state = dict(model.named_parameters()), defaultdict[Any, dict[str, Value]](dict)
    first = next(iter(parameters.values()))
    for key, value in values.items():
        owner, _, name = key.rpartition("/")
        if owner in parameters:
            parameter = parameters[owner]
            present, into = expected.get(parameter, {}), state[parameter]
        else:
            parameter, into = first, optimizer.param_groups[int(owner.rpartition("/")[2])]
            present = {name: Held.of(into.get(name))}
        if isinstance(value, Tensor):
            like = present.get(name)
            value = place(key, value, like if isinstance(like, Held) else _beside(parameter, value))
        into[name] = value
    optimizer.state.clear()
    optimizer.state.update(state)


def _place(key: str, value: Tensor, like: Held) -> Tensor:
    # Some keep counters in host memory, beside weights on a GPU. A copy, since what was read is a
    # view of the file, whose space on the disk is free only when nothing views it any more.
    return value.to(like.device, copy=True)


def _beside(parameter: Tensor, value: Tensor) -> Held:
    """Return the description of a tensor that comes with a later update only."""
    held = cast(Held, Held.of(parameter))
    return held if value.shape == held.shape else replace(held, sharding=None)


@torch.no_grad()
def state_after_update(optimizer: Optimizer) -> Expected:
    """Return the kind of state that an optimizer holds after an update.

    A fresh optimizer makes one from gradients of zero, after which everything is put back.
    """
    if optimizer.state:
        return _held(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    before = [parameter.detach().clone() for parameter in parameters]
    groups = [dict(group) for group in optimizer.param_groups]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    for group in optimizer.param_groups:
        group |= {k: copy.deepcopy(v) for k, v in group.items() if k != "params"}
    optimizer.step()
    found = _held(optimizer)
    optimizer.state.clear()
    for parameter, values in zip(parameters, before, strict=True):
        parameter.copy_(values)
        parameter.grad = None
    for group, saved in zip(optimizer.param_groups, groups, strict=True):
        group.clear()
        group |= saved
    return found


def _held(optimizer: Optimizer) -> Expected:
    return {
        parameter: {name: Held.of(value) for name, value in values.items()}
        for parameter, values in optimizer.state.items()
    }


def _misfit(
    model: nn.Module, optimizer: Optimizer, values: Mapping[str, Value], expected: Expected
) -> str | None:
    """Return why saved values do not fit an optimizer; None: they fit."""
    held = {name: expected.get(parameter, {}) for name, parameter in model.named_parameters()}
    found: dict[str, set[str]] = {}
    for key, value in values.items():
        owner, _, name = key.rpartition("/")
        present = held.get(owner, _group(optimizer, owner))
        if present is None:
            return f"{key} fits no parameter"
        # None, and a name that comes with a later update, may have become anything
        if (like := present.get(name)) is not None and _kind(Held.of(value)) != _kind(like):
            return f"{key} has another shape or type than this optimizer holds"
        found.setdefault(owner, set()).add(name)
    lacking = (f"{k}/{min(lack)}" for k in found if (lack := held.get(k, {}).keys() - found[k]))
    return next((f"{key} is missing" for key in lacking), None)


def _group(optimizer: Optimizer, owner: str) -> Mapping[str, Held | Number] | None:
    groups = {f"{GROUPS}/{index}": group for index, group in enumerate(optimizer.param_groups)}
    if owner not in groups:
        return None
    return {name: Held.of(value) for name, value in groups[owner].items() if name != "params"}


def _kind(value: Held | Number) -> object:
    return (value.shape, value.dtype) if isinstance(value, Held) else "number"
