"""Contexts that restore modes, buffers and gradients of a model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Disable dropout and gradients; restore the mode of each module afterwards."""
    modes = [(module, module.training) for module in model.modules()]  # some may be frozen
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Restore modes, buffers and gradients of a model after the block, bit for bit."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, None if buffer is None else buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    with ExitStack() as stack:
        if any(module._compiled_call_impl is not None for module, _ in modes):
            # new shapes would be compiled, and slow down those of training
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            yield
        finally:
            for parameter, gradient in gradients:
                parameter.grad = gradient
            for module, name, buffer, values in buffers:
                module._buffers[name] = buffer
                if buffer is not None and values is not None:
                    buffer.copy_(values)
            for module, training in modes:
                module.training = training
