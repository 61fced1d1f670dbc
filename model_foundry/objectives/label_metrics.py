"""Metrics of labels that follow from counts of predictions over all batches.

Letters of shapes: N targets, B examples, C labels.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from model_foundry.objectives.forward_pass import ForwardPass, in_double
from model_foundry.objectives.metrics import Metric, Sums, field_of


def confusion(logits: Tensor, targets: Tensor) -> Tensor:
    """Return how often each class is predicted at targets of each, (C, C): [target, predicted].

    Args:
        logits: (N, C).
        targets: (N,).
    """
    classes = logits.shape[-1]
    cells = targets.long() * classes + logits.argmax(-1)
    return torch.bincount(cells, minlength=classes**2).view(classes, classes)


class MacroF1(Metric):
    """The mean over the labels of F1, the harmonic mean of precision and recall.

    Labels that neither occur nor are predicted are left out. Where an example has several labels,
    one is predicted where its logit is above 0.
    """

    def sums(self, done: ForwardPass) -> Tensor:
        """Return the correct predictions, predictions and targets of each label, (3, C)."""
        logits, targets = done.align(done.output, done.inputs)
        if targets.is_floating_point() and logits.shape == targets.shape:
            predicted, actual = logits > 0, targets > 0.5
            counts = [predicted & actual, predicted, actual]
            return in_double(torch.stack([count.sum(0) for count in counts]))
        done.require_classes(field_of(self.objective, "macro_f1"), "macro_f1")
        table = confusion(*done.predictions)
        return in_double(torch.stack([table.diagonal(), table.sum(0), table.sum(1)]))

    def result(self, sums: Sums) -> Mapping[str, float]:
        right, predicted, actual = sums
        occurs = predicted + actual > 0
        if not occurs.any():
            return {}
        f1 = 2 * right[occurs] / (predicted + actual)[occurs]
        return {"macro_f1": float(f1.mean())}


class Matthews(Metric):
    """The correlation of predicted and true classes: 1 is perfect, 0 is chance.

    Of two classes Matthews (1975), of more Gorodkin (2004). It is 0 where all predictions, or all
    targets, are of one class.
    """

    def sums(self, done: ForwardPass) -> Tensor:
        """Return the confusion matrix, (C, C)."""
        done.require_classes(field_of(self.objective, "matthews"), "matthews")
        return in_double(confusion(*done.predictions))

    def result(self, sums: Sums) -> Mapping[str, float]:
        total, actual, predicted = float(sums.sum()), sums.sum(1), sums.sum(0)
        if not total:
            return {}
        covariance = float(np.trace(sums)) * total - float(actual @ predicted)
        spreads = [total**2 - float(each @ each) for each in (actual, predicted)]
        scale = math.sqrt(spreads[0] * spreads[1])
        return {"matthews": covariance / scale if scale else 0.0}
