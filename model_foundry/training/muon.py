"""Muon for hidden matrices and AdamW for all other parameters, as one optimizer."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import AdamW, Muon, Optimizer

from model_foundry.config import TrainingConfig
from model_foundry.config.optimizers import MuonConfig
from model_foundry.training.parameter_groups import MATRICES, Groups


class MuonWithAdamW(Optimizer):
    """Two optimizers of torch with one state and one list of groups.

    A parameter belongs to Muon if its group is of the kind `matrices`, so a state is that of its
    parameter whatever the order of the groups.

    Args:
        muon: has the groups of matrices.
        adamw: has all other groups.
    """

    def __init__(self, muon: Muon, adamw: AdamW) -> None:
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self._muon, self._adamw = muon, adamw

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part, is_muon in ((self._muon, True), (self._adamw, False)):
            # here, since loading a state and sharding the weights replace state and groups
            part.state = self.state
            part.param_groups = [g for g in self.param_groups if (g["kind"] == MATRICES) == is_muon]
            part.step()  # type: ignore[no-untyped-call]
        return loss


def muon_with_adamw(
    groups: Groups, training: TrainingConfig, section: MuonConfig, adamw: AdamW
) -> MuonWithAdamW:
    """Return the optimizer of all groups.

    Args:
        adamw: has the groups that are not of matrices.
    """
    rate, decay = section.learning_rate, section.weight_decay
    own = {"lr_scale": 1.0 if rate is None else rate / training.learning_rate}
    own |= {} if decay is None else {"weight_decay": decay}
    matrices = [{**group, **own} for group in groups if group["kind"] == MATRICES]
    muon = Muon(
        matrices,
        lr=training.learning_rate,
        momentum=section.momentum,
        nesterov=section.nesterov,
        ns_steps=section.ns_steps,
        adjust_lr_fn=section.adjust_lr_fn,
    )
    return MuonWithAdamW(muon, adamw)
