"""Losses, which an experiment combines by name and weight: `training.losses`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import torch.nn.functional as F
from torch import Tensor

from model_foundry.config import LOSSES, LossSpec
from model_foundry.errors import ConfigError
from model_foundry.objectives.forward_pass import ForwardPass, Inputs
from model_foundry.objectives.logit_chunks import RowTerm, sum_over_targets
from model_foundry.registry import register_in

LEAST = -1e30  # logarithm of a probability
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
        return _mean_of_rows(done, "z_loss", lambda logits, _: logits.logsumexp(-1).square())


class LabelSmoothing(Loss):
    """The cross-entropy with a share of the probability spread over all classes.

    The share is `training.label_smoothing_factor` (Szegedy et al. 2016, arXiv:1512.00567); none
    without `debug.regularization`.
    """

    def mean(self, done: ForwardPass) -> Tensor:
        config = self.objective.config
        share = config.training.label_smoothing_factor if config.debug.regularization else 0.0

        def smoothed(logits: Tensor, targets: Tensor) -> Tensor:
            return F.cross_entropy(logits, targets, reduction="none", label_smoothing=share)

        return _mean_of_rows(done, "label_smoothing", smoothed)


class ConfidencePenalty(Loss):
    """The negative entropy of the prediction, in nats, which keeps it from being too certain.

    From Pereyra et al. 2017 (arXiv:1701.06548), with weights from 0.1 to 4.
    """

    def mean(self, done: ForwardPass) -> Tensor:
        return _mean_of_rows(done, "confidence_penalty", _negative_entropy)


def _negative_entropy(logits: Tensor, _: Tensor) -> Tensor:
    logarithms = logits.log_softmax(-1)
    # a class that is ruled out adds nothing, where 0 times -inf would be NaN
    return (logarithms.exp() * logarithms.clamp(min=LEAST)).sum(-1)


def _mean_of_rows(done: ForwardPass, name: str, term: RowTerm) -> Tensor:
    """Return the mean of a figure of logits over the targets, for a loss of this name."""
    logits, targets, scored = done.classified("training.losses", name)
    total = sum_over_targets(term, logits, targets, scored)
    return total / scored.sum().clamp(min=1)
