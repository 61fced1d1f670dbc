"""Switching off what keeps a model from learning its examples by heart."""

from torch import nn


def remove_dropout(model: nn.Module) -> None:
    """Set every dropout probability of a model to 0; the model's configuration keeps its own.

    Beside torch's modules, numbers are set whose attribute has `dropout` or `pdrop` in its name, as
    attention and recurrent layers have them.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and ("dropout" in name or "pdrop" in name):
                setattr(module, name, 0.0)
