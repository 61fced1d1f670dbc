"""Nonlinearities that transformers spells out in Python, computed by torch in one pass instead.

The function stays the same, up to rounding, and so does the name that the model's config saves.
"""

from typing import Final

from torch import nn
from transformers.activations import (
    AccurateGELUActivation,
    FastGELUActivation,
    GELUActivation,
    GELUTanh,
    NewGELUActivation,
)

# Three spellings of one function (Hendrycks and Gimpel 2016, arXiv:1606.08415). Spelled out, it
# makes seven tensors as large as its input, and keeps most of them for the backward pass.
_TANH_GELUS: Final = (NewGELUActivation, FastGELUActivation, AccurateGELUActivation)


def fused(module: nn.Module) -> nn.Module | None:
    """Return a module of the same function in one pass; None: there is none, or it is one."""
    kind, function = type(module), getattr(module, "act", None)
    if kind in _TANH_GELUS or (kind is GELUTanh and function == module._gelu_tanh_python):
        return nn.GELU(approximate="tanh")
    if kind is GELUActivation and function == module._gelu_python:
        return nn.GELU()
    return None


def fuse_activations(model: nn.Module) -> None:
    """Replace the nonlinearities of a model that torch computes in one pass."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            replacement = fused(child)
            if replacement is not None:
                setattr(parent, name, replacement)
