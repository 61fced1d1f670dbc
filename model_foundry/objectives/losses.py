"""Losses, which an experiment combines by name and weight: `training.losses`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from model_foundry.architectures.kernels.chunked_cross_entropy import CHUNK_BYTES
from model_foundry.config import LOSSES, LossSpec
from model_foundry.errors import ConfigError
from model_foundry.objectives.forward_pass import ForwardPass, Inputs
from model_foundry.registry import register_in

L = TypeVar("L", bound=type["Loss"])


class Loss(ABC):
    """A loss that is a mean over targets.

    A step sums it over all micro-batches and processes, and divides by the number of its targets
    there, so the result does not depend on how the step is divided.

    Args:
        objective: the `Objective`, of which the settings and, once the data are prepared, the
            processors may be read.
    """

    def __init__(self, objective: Any) -> None:
        self.objective = objective

    def count(self, inputs: Inputs, targets: int) -> int:
        """Return the number of targets in a batch.

        Args:
            targets: those of the objective, which are this loss's too unless it says otherwise.
        """
        return targets

    @abstractmethod
    def mean(self, done: ForwardPass) -> Tensor:
        """Return the mean over the targets, a scalar; without any, zero with a graph."""


def register_loss(name: str, *, needs_logits: bool = True) -> Callable[[L], L]:
    """Return a decorator that registers a `Loss` subclass under a name in `training.losses`.

    Args:
        needs_logits: False if it does not read the logits, which a model may then leave out.

    Raises:
        DuplicateNameError: the name is taken.
        TypeError: the class is no complete subclass of `Loss`.
    """
    return register_in(LOSSES, LossSpec, name, base=Loss, needs_logits=needs_logits)


class ModelLoss(Loss):
    """The loss that the model itself returns."""

    def mean(self, done: ForwardPass) -> Tensor:
        if done.output.loss is None:
            raise ConfigError(
                "model.architecture: the model was given labels and returned no loss; correct its "
                "forward method"
            )
        return done.output.loss


class ZLoss(Loss):
    """The squared logarithm of the softmax normalizer, which keeps logits small.

    From PaLM (Chowdhery et al. 2022, arXiv:2204.02311), with a weight of 1e-4.
    """

    def mean(self, done: ForwardPass) -> Tensor:
        logits, _, scored = done.classified("training.losses", "z_loss")
        rows = scored.flatten().nonzero().squeeze(1)
        normalizers = _Normalizers.apply(logits.flatten(0, -2), rows)  # type: ignore[no-untyped-call]
        return cast(Tensor, normalizers).square().sum() / max(1, len(rows))


class _Normalizers(Function):
    """The logarithm of the softmax normalizer of some rows of logits (M, C), (N,) in fp32 or fp64.

    Only a chunk of the logits is ever held in fp32.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor) -> Tensor:
        exact = torch.promote_types(logits.dtype, torch.float32)
        normalizers = torch.empty(len(rows), dtype=exact, device=logits.device)
        for chunk, place in _chunks(rows, logits):
            normalizers[place] = logits[chunk].to(exact).logsumexp(-1)
        ctx.save_for_backward(logits, rows, normalizers)
        return normalizers

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor, None]:
        logits, rows, normalizers = ctx.saved_tensors
        found = torch.zeros_like(logits)
        for chunk, place in _chunks(rows, logits):
            shares = logits[chunk].to(normalizers).sub_(normalizers[place, None]).exp_()
            found[chunk] = shares.mul_(gradients[place, None]).to(found)
        return found, None


def _chunks(rows: Tensor, logits: Tensor) -> Iterator[tuple[Tensor, slice]]:
    """Yield the rows by chunks of logits of `CHUNK_BYTES` in fp32, and the place of each."""
    size = max(1, CHUNK_BYTES // (4 * logits.shape[-1]))
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size], slice(begin, begin + size)
