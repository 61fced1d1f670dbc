"""The calibration of a classifier: how far its confidence is from its accuracy."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from model_foundry.objectives.forward_pass import ForwardPass, in_double
from model_foundry.objectives.logit_chunks import chunks
from model_foundry.objectives.metrics import Metric, Sums, field_of

BINS = 15  # as in the paper


class CalibrationError(Metric):
    """The expected calibration error (Guo et al. 2017, arXiv:1706.04599), 0 to 1; 0 is the best.

    The targets are divided by the probability of the predicted class into 15 bins of equal width,
    each with its upper end. The error is the mean over the targets of the difference, in their bin,
    between the mean of that probability and the share of correct predictions.
    """

    def sums(self, done: ForwardPass) -> Tensor:
        """Return targets, confidence and correct predictions of each bin, (3, 15)."""
        field = field_of(self.objective, "calibration_error")
        logits, targets, scored = done.classified(field, "calibration_error")
        rows = scored.flatten().nonzero().squeeze(1)
        logits, targets = logits.flatten(0, -2), targets.flatten()
        exact = torch.promote_types(logits.dtype, torch.float32)
        confidence = torch.empty(len(rows), dtype=exact, device=logits.device)
        correct = torch.empty_like(confidence)
        for chunk, place in chunks(rows, logits):
            largest, predicted = logits[chunk].to(exact).log_softmax(-1).max(-1)
            confidence[place] = largest.exp()
            correct[place] = (predicted == targets[chunk]).to(exact)
        confidence, correct = in_double(confidence), in_double(correct)
        bins = torch.ceil(confidence * BINS).long().sub_(1).clamp_(0, BINS - 1)
        figures = (torch.ones_like(correct), confidence, correct)
        return torch.stack([torch.bincount(bins, each, BINS) for each in figures])

    def result(self, sums: Sums) -> Mapping[str, float]:
        number, confidence, correct = sums
        if not number.any():
            return {}
        return {"calibration_error": float(np.abs(confidence - correct).sum() / number.sum())}
