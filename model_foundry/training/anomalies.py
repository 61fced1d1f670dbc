"""The origin of a NaN: a module of the forward pass, or an operation of the backward pass."""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from model_foundry.errors import NonFiniteError

NAN_GRADIENT = re.compile(r"Function '(\w+)' returned nan values")
FORWARD_CALL = "Error detected in"  # begins torch's warning with the traceback of that call
LINE_OF_TRACEBACK = re.compile(r'File "([^"]+)", line (\d+)')
LIBRARIES = ("/torch/", "/accelerate/", "/transformers/", "<")  # in paths that say little
REMEDY = "the update was not made; look at what is computed there"


@contextmanager
def naming_anomalies(
    model: nn.Module, step: Callable[[], int], *, active: bool = True
) -> Iterator[None]:
    """Stop at the first NaN of the block, with the name of the module or operation that made it.

    Infinite values are left alone, since masks have them.

    Args:
        step: returns the step that is being made, for messages.

    Raises:
        NonFiniteError: a module's output in training is NaN, or a gradient.
    """
    if not active:
        yield
        return
    with ExitStack() as held:
        for name, module in model.named_modules():
            check = partial(_require_numbers, name, step)
            held.callback(module.register_forward_hook(check).remove)
        forward_calls = held.enter_context(_forward_calls())
        held.enter_context(torch.autograd.set_detect_anomaly(True))
        try:
            yield
        except RuntimeError as error:
            if not (found := NAN_GRADIENT.search(str(error))):
                raise
            place = _line_of(forward_calls[-1]) if forward_calls else ""
            made = f"step {step()}: the gradient of the operation {found[1]!r}{place} is NaN"
            raise NonFiniteError(f"{made}; {REMEDY}.") from error


@contextmanager
def _forward_calls() -> Iterator[list[str]]:
    """Yield a list that receives torch's tracebacks of forward calls, which are not shown."""
    received: list[str] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=FORWARD_CALL)
        show = warnings.showwarning

        def receive(message: Warning | str, *more: Any, **named: Any) -> None:
            if str(message).startswith(FORWARD_CALL):
                received.append(str(message))
            else:
                show(message, *more, **named)

        warnings.showwarning = receive
        yield received


def _line_of(traceback: str) -> str:
    """Return the innermost line of a traceback that is in none of the libraries."""
    lines = LINE_OF_TRACEBACK.findall(traceback)
    own = [line for line in lines if not any(part in line[0] for part in LIBRARIES)]
    return f", called in {own[-1][0]}:{own[-1][1]}," if own else ""


def _require_numbers(
    name: str, step: Callable[[], int], module: nn.Module, inputs: Any, output: Any
) -> None:
    if not module.training or not _has_nan(output):
        return
    inputs_too = "as its inputs have" if _has_nan(inputs) else "while its inputs have none"
    place = f"{type(module).__name__} {name!r}" if name else type(module).__name__
    raise NonFiniteError(f"step {step()}: the output of {place} has NaN, {inputs_too}; {REMEDY}.")


def _has_nan(value: Any) -> bool:
    """Return True if a tensor has NaN, or one in a mapping, list or tuple."""
    if isinstance(value, Tensor):
        return value.is_floating_point() and bool(value.isnan().any())
    if isinstance(value, Mapping):
        return any(map(_has_nan, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_nan, value))
