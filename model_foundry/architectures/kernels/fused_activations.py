"""Fused nonlinearities of torch in place of those that transformers composes in Python.

The function stays the same up to rounding, and so does its name in the saved config.
"""

from typing import Final

from torch import nn

# By name: importing them takes a second, also where no model is made.
_HOME: Final = "transformers.activations"
# Three forms of one function (Hendrycks and Gimpel 2016, arXiv:1606.08415). Unfused, it makes seven
# tensors as large as its input, and keeps most of them for the backward pass.
_TANH_GELUS: Final = ("NewGELUActivation", "FastGELUActivation", "AccurateGELUActivation")


def fused(module: nn.Module) -> nn.Module | None:
    """Return the fused equivalent of a module; None: there is none."""
    if type(module).__module__ != _HOME:
        return None
    kind, function = type(module).__name__, getattr(module, "act", None)
    if kind in _TANH_GELUS or (kind == "GELUTanh" and function == module._gelu_tanh_python):
        return nn.GELU(approximate="tanh")
    if kind == "GELUActivation" and function == module._gelu_python:
        return nn.GELU()
    return None


def fuse_activations(model: nn.Module) -> None:
    """Replace the nonlinearities of a model by fused ones."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            replacement = fused(child)
            if replacement is not None:
                setattr(parent, name, replacement)
