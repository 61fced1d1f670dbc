"""Making the optimizer of an experiment; others than `built_in_optimizers` come with
`@register_optimizer`."""

import copy
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from pydantic import BaseModel
from torch import nn
from torch.optim import Optimizer

from model_foundry.architectures.plugin_check import is_ours, plugin_method
from model_foundry.config import OPTIMIZERS, OptimizerSpec, TrainingConfig
from model_foundry.errors import ConfigError
from model_foundry.registry import register_in
from model_foundry.training.parameter_groups import parameter_groups

MakeOptimizer = TypeVar("MakeOptimizer", bound=Callable[..., Optimizer])


def register_optimizer(
    name: str, *, schema: type[BaseModel] | None = None, settings: tuple[str, ...] = ()
) -> Callable[[MakeOptimizer], MakeOptimizer]:
    """Register a function that makes an optimizer: `make(groups, training)`.

    `groups` are parameter groups with their `params`, `kind` (see `parameter_groups`) and
    `weight_decay`, `training` is the `TrainingConfig`. The loop sets the learning rate of each
    group before each update, multiplied by its `lr_scale` if it has one. A checkpoint holds the
    optimizer's `state`, tensors or numbers by parameter and name, and the values of groups that it
    changes; nothing else is restored. Before that, a trial update with gradients of zero shows what
    the state looks like.

    Args:
        schema: pydantic class of the section `training.<name>`, which is then the third argument;
            None: it has none.
        settings: fields of `training` that only some optimizers read, this one among them.

    Raises:
        DuplicateNameError: the name is taken.
        TypeError: it is no function.
    """
    return register_in(OPTIMIZERS, OptimizerSpec, name, schema=schema, settings=settings)


def build_optimizer(model: nn.Module, config: TrainingConfig) -> Optimizer:
    """Return the optimizer of a model. The loop sets the learning rate before each update.

    Raises:
        ConfigError: the function of a plugin returns no optimizer of these parameters.
    """
    name = config.optimizer
    section = () if OPTIMIZERS[name].schema is None else (config.section_of(name),)
    groups = parameter_groups(model, config.weight_decay)
    given = {id(parameter) for group in groups for parameter in group["params"]}
    make = OPTIMIZERS.load(name)
    with plugin_method(make):
        optimizer = make(groups, config, *section)
    if not isinstance(optimizer, Optimizer):
        law = f"must return a torch.optim.Optimizer, got {type(optimizer).__name__}"
        raise ConfigError(f"training.optimizer: the function of {name!r} {law}")
    if {id(p) for group in optimizer.param_groups for p in group["params"]} != given:
        law = "must give all parameters of its groups to the optimizer, and no others"
        raise ConfigError(f"training.optimizer: the function of {name!r} {law}")
    optimizer.configured = [  # type: ignore[attr-defined]  # see changed_values
        copy.deepcopy(_values_of(group)) for group in optimizer.param_groups
    ]
    return optimizer


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of all groups, multiplied by the `lr_scale` of those that have one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


@torch.no_grad()
def try_update(model: nn.Module, config: TrainingConfig) -> None:
    """Make an update with an optimizer of a plugin, and undo it; skip built-in ones.

    The optimizer is a new one, and takes the gradients that there are.

    Raises:
        ConfigError: it raises, or cannot be made.
    """
    if is_ours(OPTIMIZERS.load(config.optimizer)):
        return
    optimizer = build_optimizer(model, config)
    set_learning_rate(optimizer, config.learning_rate)
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    before = [parameter.clone() for parameter in parameters]
    try:
        with plugin_method(type(optimizer), "step"), torch.enable_grad():
            optimizer.step()
    finally:
        for parameter, values in zip(parameters, before, strict=True):
            parameter.copy_(values)


def changed_values(optimizer: Optimizer) -> Iterator[tuple[int, str, Any]]:
    """Yield (index of the group, name, value) for what an optimizer has changed in its groups.

    The learning rate, which the loop sets, is left out.
    """
    configured = optimizer.configured  # type: ignore[attr-defined]  # by build_optimizer
    for index, (group, before) in enumerate(zip(optimizer.param_groups, configured, strict=True)):
        for name, value in _values_of(group).items():
            if name not in before or not _same(value, before[name]):
                yield index, name, value


def _values_of(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in ("params", "lr")}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one.cpu(), other.cpu())
    return type(one) is type(other) and bool(one == other)
