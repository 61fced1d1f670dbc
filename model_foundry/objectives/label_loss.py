"""The loss of labels, with weights of classes and label smoothing.

Letters of shapes: N targets, B examples, C labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import short_repr
from model_foundry.objectives.forward_pass import ForwardPass
from model_foundry.objectives.labels import listed
from model_foundry.objectives.losses import Loss
from model_foundry.registry import nearest

Weights = str | Mapping[str, float] | None


class LabelLoss(Loss):
    """The cross-entropy of labels, with the class weights and the smoothing of the task.

    Weights multiply the loss of a target, and the sum is divided by the number of targets. Of
    several labels it is binary, and the weights apply where a label is present.
    """

    def __init__(self, objective: Any) -> None:
        super().__init__(objective)
        if not hasattr(objective.settings, "label_smoothing"):
            law = f"'label_loss' needs a task with label_smoothing, unlike {objective.spec.name!r}"
            raise ConfigError(f"training.losses: {law}; use 'model'")

    def mean(self, done: ForwardPass) -> Tensor:
        logits, targets = done.align(done.output, done.inputs)
        weights = getattr(self.objective, "class_weights", None)
        smoothing = self.objective.settings.label_smoothing
        given = None if weights is None else torch.tensor(weights, device=logits.device)
        if targets.is_floating_point():
            return binary_loss(logits, targets, weights=given, smoothing=smoothing)
        return class_loss(*done.predictions, weights=given, smoothing=smoothing)


def class_loss(
    logits: Tensor, targets: Tensor, *, weights: Tensor | None, smoothing: float
) -> Tensor:
    """Return the mean cross-entropy in nats over the targets; without any, zero with a graph.

    Args:
        logits: (N, C).
        targets: (N,).
        weights: of the class of a target, (C,); None: all are 1.
        smoothing: share of the probability that is spread over all classes.
    """
    losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    if weights is not None:
        losses = losses * weights[targets]
    return losses.sum() / max(1, len(targets))


def binary_loss(
    logits: Tensor, targets: Tensor, *, weights: Tensor | None, smoothing: float
) -> Tensor:
    """Return the mean binary cross-entropy in nats over examples and labels.

    Args:
        logits: (B, C).
        targets: (B, C), 1 where a label is present and else 0.
        weights: of each label where it is present, (C,); None: all are 1.
        smoothing: share of the probability that is spread over presence and absence.
    """
    smoothed = targets.float() * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits.float(), smoothed, pos_weight=weights)


def class_weights(
    setting: Weights, names: Sequence[str], labels: NDArray[np.generic], *, field: str
) -> list[float] | None:
    """Return the weight of each label, (C,); None: there are none.

    Args:
        setting: see `SequenceClassificationConfig.class_weights`.
        names: of the labels, in the order of their numbers.
        labels: of the training data: numbers (N,), or (N, C) of 0 and 1.
        field: name of the setting, for messages.

    Raises:
        ConfigError: a label does not occur in the training data.
    """
    if setting is None:
        return None
    if not isinstance(setting, str):
        _require_known(setting, names, field)
        return [float(setting.get(name, 1.0)) for name in names]
    several = labels.ndim == 2
    present = labels.sum(0) if several else np.bincount(labels.astype(np.int64), None, len(names))
    for index in np.flatnonzero(present == 0)[:1]:
        law = f"'balanced' needs every label, but none of the training data is {names[index]!r}"
        raise ConfigError(f"{field}: {law}; give weights by name")
    others = len(labels) - present if several else np.full(len(names), len(labels) / len(names))
    return [float(weight) for weight in np.maximum(others, 1) / present]


def _require_known(setting: Mapping[str, float], names: Sequence[str], field: str) -> None:
    for name in setting:
        if name not in names:
            near = nearest(name, list(names))
            hint = f"; did you mean {near!r}?" if near else f"; name {listed(names)}"
            law = f"{short_repr(name)} is no label of the training data"
            raise ConfigError(f"{field}: {law}{hint}")
