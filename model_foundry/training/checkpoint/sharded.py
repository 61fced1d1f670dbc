"""Weights and optimizer state gathered for saving, where FSDP2 shards them among processes.

Rank 0 then keeps a copy of the model in host memory, through which everything is saved and loaded,
so the files are those of a model that was never sharded.
"""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from model_foundry.architectures import BaseModel
from model_foundry.errors import ConfigError
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.training.checkpoint.optimizer_loading import (
    Held,
    set_state,
    state_after_update,
)
from model_foundry.training.checkpoint.optimizer_state import (
    OptimizerState,
    Value,
    capture,
    named_values,
    on_host,
)

Optimizer = torch.optim.Optimizer
State = Callable[[], OptimizerState]
Load = Callable[[BaseModel, Optimizer], None]

GATHERED = StateDictOptions(full_state_dict=True, cpu_offload=True)
SCATTERED = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


class ReplicatedState:
    """Weights and optimizer state that every process holds in full.

    All processes call each method at the same time.
    """

    def gather_model(self, model: BaseModel) -> BaseModel:
        """Return the model with all its weights, for saving on rank 0."""
        return model

    def gather_optimizer(self, model: BaseModel, optimizer: Optimizer) -> State:
        """Return a function that returns the optimizer's state, for saving on rank 0.

        Raises:
            ConfigError: its state cannot be put together.
        """
        return partial(capture, model, optimizer)

    def restore(self, load: Load, model: BaseModel, optimizer: Optimizer) -> None:
        """Give a model and its optimizer the state that `load` reads from disk."""
        load(model, optimizer)


class ShardedState(ReplicatedState):
    """Weights and optimizer state sharded among processes and gathered on rank 0.

    Args:
        model: the model before it is sharded.
        make_optimizer: makes the optimizer of a model.
    """

    def __init__(
        self,
        model: BaseModel,
        processes: ProcessGroup,
        make_optimizer: Callable[[BaseModel], Optimizer],
    ) -> None:
        self.copy = copy.deepcopy(model).cpu() if processes.is_rank0 else model
        self.processes, self.make_optimizer = processes, make_optimizer

    def gather_model(self, model: BaseModel) -> BaseModel:
        weights = get_model_state_dict(model, options=GATHERED)
        if self.processes.is_rank0:
            self.copy.load_state_dict(weights)
        return self.copy

    def gather_optimizer(self, model: BaseModel, optimizer: Optimizer) -> State:
        values = {}
        for key, value in named_values(model, optimizer):
            whole = self._gather(key, value)
            if self.processes.is_rank0:
                values[key] = on_host(whole)
        return partial(OptimizerState, type(optimizer).__name__, values)

    def _gather(self, key: str, value: Any) -> Any:
        """Return a value of the optimizer as it would be without sharding.

        Raises:
            ConfigError: it is a part that cannot be put together.
        """
        if isinstance(value, DTensor) and not any(p.is_partial() for p in value.placements):
            # offloaded shards are in host memory, where their processes do not exchange data
            return cast(DTensor, value.to(value.device_mesh.device_type)).full_tensor()
        if isinstance(value, Tensor) and (isinstance(value, DTensor) or value.numel() > 1):
            raise _not_shardable(key)
        return value

    def restore(self, load: Load, model: BaseModel, optimizer: Optimizer) -> None:
        weights: dict[str, Any] = {}
        values: dict[str, Value] = {}

        def read() -> dict[str, Value]:
            whole = self.make_optimizer(self.copy)
            load(self.copy, whole)
            weights.update(self.copy.state_dict())
            values.update(capture(self.copy, whole).values)
            # the tensors themselves are too large to be sent as an object
            return {k: v.to("meta") if isinstance(v, Tensor) else v for k, v in values.items()}

        described = self.processes.on_rank0(read)  # faults of the files are raised on all ranks
        set_model_state_dict(model, weights, options=SCATTERED)
        scatter = partial(self._scatter, values)
        set_state(model, optimizer, described, state_after_update(optimizer), scatter)

    def _scatter(self, values: Mapping[str, Value], key: str, value: Tensor, like: Held) -> Tensor:
        """Return this process's part of a tensor.

        Args:
            values: the whole values, on rank 0.
            value: the tensor on the meta device.

        Raises:
            ConfigError: the optimizer does not show how it would shard it.
        """
        if like.sharding is None and value.numel() > 1:
            raise _not_shardable(key)
        if like.sharding is None:
            return cast(Tensor, self.processes.on_rank0(lambda: values[key])).to(like.device)
        mesh, placements = like.sharding
        whole = cast(Tensor, values.get(key, torch.empty_like(value, device=mesh.device_type)))
        return distribute_tensor(whole.to(mesh.device_type), mesh, placements).to(like.device)


def _not_shardable(key: str) -> ConfigError:
    return ConfigError(
        f"training.distributed.strategy (=fsdp2): the optimizer keeps {key}, which cannot be put "
        "together from shards, or divided into them; set ddp, or another training.optimizer"
    )


def is_sharded(model: torch.nn.Module) -> bool:
    """Return True if the weights of a model are sharded among processes."""
    return isinstance(model, FSDPModule)
