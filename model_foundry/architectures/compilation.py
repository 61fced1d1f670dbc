"""Compiled models outside of training steps: run as they were before."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Run a model as if it were not compiled.

    Evaluations and checks read rows of other shapes than training does. torch.compile would answer
    with graphs for any shape, and training, which takes those from then on, would change in its
    last bits with every evaluation.
    """
    # looked at first, because the stance imports the compiler
    if any(module._compiled_call_impl is not None for module in model.modules()):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield
