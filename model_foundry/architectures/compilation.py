"""Compiled models outside of training steps, run without their compiled code."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def compilation_disabled(model: nn.Module) -> Iterator[None]:
    """Run a model without its compiled code.

    Evaluations and checks read rows of other shapes than training does. torch.compile would build
    graphs for any shape, and training, which would then use those, would change in its last bits.
    """
    # checked first, because the stance imports the compiler
    if any(module._compiled_call_impl is not None for module in model.modules()):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield
