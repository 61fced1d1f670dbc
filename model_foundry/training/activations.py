"""Statistics of the activations of each layer, taken while a model is evaluated."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from model_foundry.architectures.modeling.feed_forward import FeedForward
from model_foundry.foundation.plugins import describe_error

logger = logging.getLogger(__name__)

ACTIVATION_MODULES: Final = ("torch.nn.modules.activation", "transformers.activations")
DEAD: Final = 1e-6
"""A unit that no token brings further from zero is dead."""
SATURATED: Final = 0.99
"""Share of the largest value of a bounded function, above which it hardly has a gradient."""


class Statistics:
    """Mean, spread and extremes of the outputs of one module.

    Its units are the last dimension, as in (N, T, C), or dimension 1 of four or more, as in the
    (N, C, H, W) of a convolution.

    Args:
        function: the module is a nonlinearity, whose units can be dead.
    """

    def __init__(self, module: nn.Module, *, function: bool) -> None:
        self.function = function
        self.bounds = {nn.Tanh: (-1.0, 1.0), nn.Sigmoid: (0.0, 1.0)}.get(type(module))
        self.clear()

    def clear(self) -> None:
        """Forget all batches."""
        self._number, self._mean, self._squares = 0, torch.zeros(()), torch.zeros(())
        self._largest: Tensor | None = None
        self._saturated = torch.zeros(())

    def add(self, output: Tensor) -> None:
        """Add the outputs of a batch; nothing waits for a GPU (Chan et al. 1979)."""
        values = output.detach().float()
        number, before = values.numel(), self._number
        variance, mean = torch.var_mean(values, correction=0)
        self._number += number
        step = mean - self._mean.to(mean.device)
        self._mean = self._mean.to(mean.device) + step * (number / self._number)
        between = step.square() * (before * number / self._number)
        self._squares = self._squares.to(mean.device) + variance * number + between
        if self.function:
            self._add_largest(values)
        if self.bounds is not None:
            low, high = self.bounds
            beyond = (values - (low + high) / 2).abs() > SATURATED * (high - low) / 2
            self._saturated = self._saturated.to(mean.device) + beyond.sum()

    def _add_largest(self, values: Tensor) -> None:
        units = 1 if values.dim() > 3 else -1
        largest = values.abs().movedim(units, -1).flatten(0, -2).amax(0)
        if self._largest is None:
            self._largest = largest
        elif self._largest.shape == largest.shape:
            self._largest = torch.maximum(self._largest, largest)
        else:  # called at layers of different width, or on rows of different length
            self.function, self._largest = False, None

    def figures(self) -> dict[str, float]:
        """Return the figures by name; {}: nothing was added."""
        if not self._number:
            return {}
        spread = (self._squares / self._number).sqrt()
        found = {"mean": float(self._mean), "std": float(spread)}
        if self._largest is not None:
            found["dead"] = float((self._largest <= DEAD).float().mean())
        if self.bounds is not None:
            found["saturated"] = float(self._saturated) / self._number
        return found


@contextmanager
def activation_figures(model: nn.Module) -> Iterator[dict[str, float]]:
    """Take the statistics of all calls of a model within the block.

    Yields:
        The figures, `activations/<layer>/<figure>`, which are there after the block: `mean` and
        `std`; of nonlinearities also `dead`, the share of units that are zero for every token,
        unless their number differs between calls;
        of tanh and the logistic function also `saturated`, a share of values. Padding counts.
    """
    statistics: dict[str, Statistics] = {}
    handles, found = [], dict[str, float]()
    for name, module in _watched(model).items():
        statistics[name] = own = Statistics(module, function=_is_function(module))
        handles.append(module.register_forward_hook(_adding_to(name, own)))
    for name, feed_forward in _feed_forwards(model).items():
        statistics[name] = own = Statistics(feed_forward, function=True)
        handles.append(feed_forward.down.register_forward_pre_hook(_adding_input_to(name, own)))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    for name, each in statistics.items():
        found |= {f"activations/{name}/{key}": value for key, value in each.figures().items()}


def _watched(model: nn.Module) -> Mapping[str, nn.Module]:
    """Return the layers of each stack and all nonlinearities; without any, the smallest modules."""
    modules = dict(model.named_modules())
    stacks = [name for name, module in modules.items() if isinstance(module, nn.ModuleList)]
    layers = {
        name: module
        for name, module in modules.items()
        if name.rpartition(".")[0] in stacks or _is_function(module)
    }
    if layers:
        return layers
    smallest = {name: m for name, m in modules.items() if name and not list(m.children())}
    return {name: m for name, m in smallest.items() if list(m.parameters(recurse=False))}


def _feed_forwards(model: nn.Module) -> dict[str, FeedForward]:
    """Return our own feed-forward sublayers, whose nonlinearity is a function and no module."""
    found = model.named_modules()
    return {f"{name}.activation": each for name, each in found if isinstance(each, FeedForward)}


def _is_function(module: nn.Module) -> bool:
    in_place = type(module).__module__ in ACTIVATION_MODULES
    return in_place and not isinstance(module, nn.MultiheadAttention)


def _adding_to(name: str, statistics: Statistics) -> Any:
    adding = _Adding(name, statistics)

    def add(module: nn.Module, inputs: Any, output: Any) -> None:
        adding.add(output[0] if isinstance(output, tuple) and output else output)

    return add


def _adding_input_to(name: str, statistics: Statistics) -> Any:
    adding = _Adding(name, statistics)

    def add(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        adding.add(inputs[0] if inputs else None)

    return add


class _Adding:
    """Adds what can be counted to the statistics of a module, and never raises."""

    def __init__(self, name: str, statistics: Statistics) -> None:
        self.name, self.statistics = name, statistics
        self.failed = False

    def add(self, values: Any) -> None:
        if self.failed or not _can_be_counted(values):
            return
        try:
            self.statistics.add(values)
        except Exception as error:  # such as parts on two devices; no reason to end a training
            self.failed = True
            self.statistics.clear()
            logger.warning(
                "tracking.activations: %s is left out of this evaluation: %s",
                *(self.name, describe_error(error)),
            )


def _can_be_counted(values: Any) -> bool:
    if not isinstance(values, Tensor) or values.is_nested or values.layout != torch.strided:
        return False
    return values.is_floating_point() and values.dim() >= 2 and values.numel() > 0
