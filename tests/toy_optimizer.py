"""A plugin: an optimizer with state of every kind, each of which changes its updates."""

from typing import Any

import torch
from torch.optim import Optimizer

from model_foundry.config import Section, TrainingConfig
from model_foundry.training.optimizer import register_optimizer


class ToyConfig(Section):
    """Settings of the toy."""

    shrink: float = 0.9
    """Decay of the scale, which would be lost if it were not 64 bits wide."""


class Toy(Optimizer):
    """Follows the signs of all gradients so far."""

    def __init__(self, groups: Any, lr: float, shrink: float) -> None:
        super().__init__(groups, {"lr": lr, "shrink": shrink, "updates": 0, "drift": None})
        for group in self.param_groups:
            group["total"] = torch.zeros(1)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["updates"] += 1
            drift = 0.0 if group["drift"] is None else group["drift"]
            group["drift"] = drift + group["lr"] / 3
            group["total"] += group["lr"]
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            signs = torch.zeros_like(parameter, dtype=torch.int64)
            state.update(signs=signs, scale=1.0, count=0, odd=False, late=None)
        state["signs"] += torch.sign(parameter.grad).long()
        state["scale"] *= group["shrink"]
        state["count"] += 1
        state["odd"] = not state["odd"]
        if state["count"] == 3:
            state["late"] = 1 / 3
            state["seen"], state["third"] = parameter.detach().clone(), torch.ones(1) / 3
        size = state["scale"] * (2 if state["odd"] else 1) / state["count"] / group["updates"]
        parameter.add_(state["signs"].float(), alpha=-group["lr"] * size)
        if state["late"] is not None:
            weight = state["late"] * group["drift"] * float(group["total"] + state["third"])
            parameter.lerp_(state["seen"], weight)


@register_optimizer("toy", schema=ToyConfig)
def toy(groups: Any, training: TrainingConfig, section: ToyConfig) -> Toy:
    return Toy(groups, training.learning_rate, section.shrink)
