"""Weights and optimizer state gathered for saving, where FSDP2 shards them among processes.

Rank 0 then keeps a copy of the model in host memory, through which everything is saved and loaded,
so the files are those of a model that was never sharded.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule

from model_foundry.architectures import BaseLanguageModel
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.training.checkpoint.save_load import optimizer_tensors

Optimizer = torch.optim.Optimizer
Moments = Optimizer | Mapping[str, Tensor]
Load = Callable[[BaseLanguageModel, Optimizer], None]

GATHERED = StateDictOptions(full_state_dict=True, cpu_offload=True)
SCATTERED = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


class ReplicatedState:
    """Weights and optimizer state that every process holds in full.

    All processes call each method at the same time.
    """

    def gather_model(self, model: BaseLanguageModel) -> BaseLanguageModel:
        """Return the model with all its weights, for saving on rank 0."""
        return model

    def gather_optimizer(self, model: BaseLanguageModel, optimizer: Optimizer) -> Moments:
        """Return the optimizer, or its tensors by name, for saving on rank 0."""
        return optimizer

    def restore(self, load: Load, model: BaseLanguageModel, optimizer: Optimizer) -> None:
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
        model: BaseLanguageModel,
        processes: ProcessGroup,
        make_optimizer: Callable[[BaseLanguageModel], Optimizer],
    ) -> None:
        self.copy = copy.deepcopy(model).cpu() if processes.is_rank0 else model
        self.processes, self.make_optimizer = processes, make_optimizer

    def gather_model(self, model: BaseLanguageModel) -> BaseLanguageModel:
        weights = get_model_state_dict(model, options=GATHERED)
        if self.processes.is_rank0:
            self.copy.load_state_dict(weights)
        return self.copy

    def gather_optimizer(self, model: BaseLanguageModel, optimizer: Optimizer) -> Moments:
        found: dict[str, Any] = dict(get_optimizer_state_dict(model, optimizer, options=GATHERED))
        moments: Mapping[str, Any] = found.get("state", {})  # empty on other ranks
        return {
            f"{name}/{kind}": tensor.contiguous()
            for name, kinds in moments.items()
            for kind, tensor in kinds.items()
        }

    def restore(self, load: Load, model: BaseLanguageModel, optimizer: Optimizer) -> None:
        loaded: list[dict[str, Any]] = [{}, {"state": {}, "param_groups": []}]

        def read() -> None:
            whole = self.make_optimizer(self.copy)
            load(self.copy, whole)
            loaded[:] = [self.copy.state_dict(), self._state(whole)]

        self.processes.on_rank0(read)  # faults of the files are raised on all ranks
        set_model_state_dict(model, loaded[0], options=SCATTERED)
        set_optimizer_state_dict(model, optimizer, loaded[1], options=SCATTERED)

    def _state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the optimizer state of the copy by parameter name."""
        moments: dict[str, dict[str, Tensor]] = {}
        for key, tensor in optimizer_tensors(self.copy, optimizer).items():
            name, _, kind = key.rpartition("/")
            moments.setdefault(name, {})[kind] = tensor
        groups = get_optimizer_state_dict(self.copy, optimizer)["param_groups"]
        return {"state": moments, "param_groups": groups}


def is_sharded(model: torch.nn.Module) -> bool:
    """Return True if the weights of a model are sharded among processes."""
    return isinstance(model, FSDPModule)
