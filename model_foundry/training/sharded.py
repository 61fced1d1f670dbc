"""FSDP2: what is divided among processes, put together for the disk and given back from it.

Main keeps a whole copy of the model in the memory of the host, through which everything is saved
and loaded; so the files are those of a model that was never divided.
"""

import copy
from collections.abc import Mapping
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
from model_foundry.processes import Processes
from model_foundry.training.checkpoint import optimizer_tensors

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
SPREAD = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


class WholeCopy:
    """A copy of a model that is going to be divided.

    Every process calls each method at the same time; in main alone, `model` holds the weights that
    were gathered last.

    Args:
        model: it, before it is divided.
    """

    def __init__(self, model: BaseLanguageModel, processes: Processes) -> None:
        self.model = copy.deepcopy(model).cpu() if processes.is_main else model
        self.processes = processes

    def gather(self, model: torch.nn.Module) -> None:
        """Take over the weights of the divided model."""
        weights = get_model_state_dict(model, options=WHOLE)
        if self.processes.is_main:
            self.model.load_state_dict(weights)

    def gathered_moments(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> dict[str, Tensor]:
        """Return the optimizer's tensors as `optimizer_tensors` does; none outside main."""
        found: dict[str, Any] = dict(get_optimizer_state_dict(model, optimizer, options=WHOLE))
        moments: Mapping[str, Any] = found.get("state", {})
        return {
            f"{name}/{kind}": tensor.contiguous()
            for name, kinds in moments.items()
            for kind, tensor in kinds.items()
        }

    def spread(self, model: torch.nn.Module) -> None:
        """Give the divided model the weights of the copy."""
        weights = self.model.state_dict() if self.processes.is_main else {}
        set_model_state_dict(model, weights, options=SPREAD)

    def spread_moments(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        whole: torch.optim.Optimizer | None,
    ) -> None:
        """Give the divided optimizer the moments of one of the copy.

        Args:
            whole: in main, an optimizer of the copy; None in the others.
        """
        moments: dict[str, dict[str, Tensor]] = {}
        state: dict[str, Any] = {"state": moments, "param_groups": []}
        if whole is not None:
            for key, tensor in optimizer_tensors(self.model, whole).items():
                name, _, kind = key.rpartition("/")
                moments.setdefault(name, {})[kind] = tensor
            state["param_groups"] = get_optimizer_state_dict(self.model, whole)["param_groups"]
        set_optimizer_state_dict(model, optimizer, state, options=SPREAD)


def is_divided(model: torch.nn.Module) -> bool:
    """Tell whether a model's weights are divided among processes."""
    return isinstance(model, FSDPModule)
