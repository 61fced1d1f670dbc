"""A model whole, for the disk, where FSDP2 divides its weights and moments among processes.

Main then keeps a copy of it in the memory of the host, through which everything is saved and
loaded; so the files are those of a model that was never divided.
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
SPREAD = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


class ReplicatedState:
    """What every process has whole: it is saved and loaded as it is."""

    def gathered(self, model: BaseLanguageModel) -> BaseLanguageModel:
        """Return a model as it is saved. All processes ask for it at the same time."""
        return model

    def gathered_moments(self, model: BaseLanguageModel, optimizer: Optimizer) -> Moments:
        """Return an optimizer, or its tensors under their names, as it is saved; likewise."""
        return optimizer

    def restore(self, load: Load, model: BaseLanguageModel, optimizer: Optimizer) -> None:
        """Give a model and its optimizer what `load` reads from the disk; likewise."""
        load(model, optimizer)


class ShardedState(ReplicatedState):
    """What is divided among processes; main alone gathers it.

    Args:
        model: it, before it is divided.
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

    def gathered(self, model: BaseLanguageModel) -> BaseLanguageModel:
        weights = get_model_state_dict(model, options=GATHERED)
        if self.processes.is_rank0:
            self.copy.load_state_dict(weights)
        return self.copy

    def gathered_moments(self, model: BaseLanguageModel, optimizer: Optimizer) -> Moments:
        found: dict[str, Any] = dict(get_optimizer_state_dict(model, optimizer, options=GATHERED))
        moments: Mapping[str, Any] = found.get("state", {})  # nothing outside main
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

        self.processes.on_rank0(read)  # what is wrong with the files, all learn
        set_model_state_dict(model, loaded[0], options=SPREAD)
        set_optimizer_state_dict(model, optimizer, loaded[1], options=SPREAD)

    def _state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the state of an optimizer of the copy by the names of the parameters."""
        moments: dict[str, dict[str, Tensor]] = {}
        for key, tensor in optimizer_tensors(self.copy, optimizer).items():
            name, _, kind = key.rpartition("/")
            moments.setdefault(name, {})[kind] = tensor
        groups = get_optimizer_state_dict(self.copy, optimizer)["param_groups"]
        return {"state": moments, "param_groups": groups}


def is_sharded(model: torch.nn.Module) -> bool:
    """Tell whether a model's weights are divided among processes."""
    return isinstance(model, FSDPModule)
