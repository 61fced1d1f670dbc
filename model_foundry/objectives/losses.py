"""Losses, which an experiment combines by name and weight: `training.losses`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from model_foundry.config import LOSSES, LossSpec
from model_foundry.errors import ConfigError
from model_foundry.objectives.forward_pass import ForwardPass, Inputs
from model_foundry.registry import register_in

L = TypeVar("L", bound=type["Loss"])


class Loss(ABC):
    """A loss that is a mean over targets.

    A step sums it over all micro-batches and processes, and divides by the number of its targets
    there, so the result does not depend on how the step is divided.
    """

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
        logits, targets = done.classified("training.losses", "z_loss")
        return logits.logsumexp(-1).square().sum() / max(1, len(targets))
