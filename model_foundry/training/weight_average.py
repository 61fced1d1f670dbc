"""The exponential moving average of the weights, which often generalises better than they do.

After each step it becomes `decay` of itself and the rest of the weights (Polyak and Juditsky 1992;
with this decay, Tarvainen and Valpola 2017, arXiv:1703.01780). It begins as the initial weights.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from model_foundry.architectures import BaseModel
from model_foundry.training.hooks import FinishedStep, Hook, Training


class WeightAverage:
    """The average of the trainable weights of a model, in fp32 on its device.

    Args:
        model: the bare model, with whole weights; it may still be moved until the first update.
        decay: share of itself that it keeps in an update.
    """

    def __init__(self, model: BaseModel, decay: float) -> None:
        self.model, self.decay = model, decay
        self._averaged: dict[str, Tensor] = {}

    def start(self) -> None:
        """Begin with the present weights, unless an average was restored."""
        if not self._averaged:
            self._averaged = {name: _in_single(p, p.device) for name, p in self._weights().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights."""
        averaged, weights = list(self._averaged.values()), list(self._weights().values())
        if any(weight.dtype != torch.float32 for weight in weights):
            weights = [weight.float() for weight in weights]
        torch._foreach_lerp_(averaged, weights, 1 - self.decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the average for the length of the block, then its own weights again."""
        weights = self._weights()
        own = {name: weight.clone() for name, weight in weights.items()}
        _copy(self._averaged, weights)
        try:
            yield
        finally:
            _copy(own, weights)

    def tensors(self) -> dict[str, Tensor]:
        """Return the average by the name of the weight; those that are tied have one."""
        return {name: average.contiguous() for name, average in self._averaged.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the average.

        Raises:
            ValueError: it is of other weights.
        """
        weights = self._weights()
        shapes = [{n: t.shape for n, t in each.items()} for each in (tensors, weights)]
        if shapes[0] != shapes[1]:
            raise ValueError("it is of other weights")
        self._averaged = {n: _in_single(tensors[n], w.device) for n, w in weights.items()}

    def _weights(self) -> dict[str, Tensor]:
        named = self.model.named_parameters()
        return {name: weight.detach() for name, weight in named if weight.requires_grad}


class AverageHook(Hook):
    """Updates the average after each step; precedes `SaveHook`."""

    def __init__(self, average: WeightAverage) -> None:
        self.average = average

    def on_start(self, training: Training) -> None:
        self.average.start()

    def after_step(self, training: Training, step: FinishedStep) -> None:
        self.average.update()


def _in_single(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy in fp32."""
    return tensor.detach().to(device, torch.float32, copy=True)


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    torch._foreach_copy_(list(target.values()), [source[name] for name in target])
