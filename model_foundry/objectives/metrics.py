"""Metrics, which an experiment names in `training.metrics`.

A metric adds up figures over batches; its result depends only on the sums, so it does not depend on
batch sizes and processes.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_foundry.config import METRICS, MetricSpec
from model_foundry.errors import ConfigError
from model_foundry.objectives.base import Objective
from model_foundry.objectives.forward_pass import ForwardPass, in_double
from model_foundry.objectives.logit_chunks import sum_over_targets
from model_foundry.registry import register_in

FEWEST_BATCHES = 4  # for an interval
QUANTILE = 1.96  # of the normal distribution, two-sided, for 95%
Sums = NDArray[np.float64]
M = TypeVar("M", bound=type["Metric"])


class Metric(ABC):
    """A figure of a model on some examples.

    Args:
        objective: its settings and, once the data are prepared, its processors may be read.
    """

    details: ClassVar[tuple[str, ...]] = ()
    """Figures of the result that go to the log, but not to the line of progress."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    @abstractmethod
    def sums(self, done: ForwardPass) -> Tensor:
        """Return the figures of a batch that are added up, of any shape, in fp64."""

    @abstractmethod
    def result(self, sums: Sums) -> float | Mapping[str, float]:
        """Return the metric, or several figures by name; those that are undefined are left out."""


def register_metric(
    name: str,
    *,
    greater_is_better: bool,
    needs_logits: bool = True,
    reads_text: bool = False,
    generates: bool = False,
) -> Callable[[M], M]:
    """Return a decorator that registers a `Metric` subclass under a name in `training.metrics`.

    Args:
        greater_is_better: the direction in which it improves.
        needs_logits: False if it does not read the logits, which a model may then leave out.
        reads_text: True if it is defined for a `LanguageObjective` only.
        generates: True if it lets the model generate, which it does in evaluations only.

    Raises:
        DuplicateNameError: the name is taken.
        TypeError: the class is no complete subclass of `Metric`.
    """
    facts: dict[str, Any] = {
        "greater_is_better": greater_is_better,
        "needs_logits": needs_logits,
        "reads_text": reads_text,
        "generates": generates,
    }
    return register_in(METRICS, MetricSpec, name, base=Metric, **facts)


def field_of(objective: Objective, name: str) -> str:
    """Return the setting or the default of the objective that names a metric."""
    if name not in objective.metric_names:
        return "training.train_metrics"
    if objective.config.training.metrics:
        return "training.metrics"
    return f"training.objective: {objective.spec.default_of('metrics')}"


def model_loss(objective: Objective, done: ForwardPass) -> tuple[Tensor, int]:
    """Return the mean of the model's own loss, in fp64, and its number of targets.

    The model returns it even if the experiment learns from others, such as one with label
    smoothing; if it does not, those of the first loss.
    """
    if "model" not in done.losses and done.output.loss is not None:
        return in_double(done.output.loss), objective.count_targets(done.inputs)
    name = "model" if "model" in done.losses else next(iter(done.losses))
    return in_double(done.losses[name]), done.targets[name]


class MeanLoss(Metric):
    """The loss per target: the weighted sum of all losses, and each by itself if there are several.

    In nats for a likelihood.
    """

    def sums(self, done: ForwardPass) -> Tensor:
        """Return the sum of each loss and its number of targets, (losses, 2)."""
        sums = [
            torch.stack([total := in_double(mean) * count, torch.full_like(total, count)])
            for mean, count in zip(done.losses.values(), done.targets.values(), strict=True)
        ]
        return torch.stack(sums)

    def result(self, sums: Sums) -> dict[str, float]:
        weights = self.objective.weights
        means = {
            name: float(total) / float(count)
            for name, (total, count) in zip(weights, sums, strict=True)
            if count
        }
        if not means:
            return {}
        figures = {"loss": sum(weights[name] * mean for name, mean in means.items())}
        if len(weights) > 1:
            figures |= {f"loss/{name}": mean for name, mean in means.items()}
        return figures


class Perplexity(Metric):
    """The exponential of the model's own loss per target."""

    def sums(self, done: ForwardPass) -> Tensor:
        """Return the nats and the number of targets, (2,)."""
        done.require_classes(field_of(self.objective, "perplexity"), "perplexity")
        mean, count = model_loss(self.objective, done)
        return torch.stack([mean * count, torch.full_like(mean, count)])

    def result(self, sums: Sums) -> dict[str, float]:
        nats, targets = map(float, sums)
        if not targets:  # another loss has some
            return {}
        loss = nats / targets
        return {"perplexity": math.exp(loss) if loss < 700 else math.inf}


class BitsPerByte(Metric):
    """The model's own loss per UTF-8 byte of the scored tokens, in bits.

    `bits_per_byte_interval` is half the width of its 95% confidence interval: the batches are
    treated as a sample of the text, and the figure as a ratio of two sums over them (Cochran 1977,
    Sampling Techniques, section 6.4). It is left out with fewer than four batches, and with carried
    states, where batches are not independent. `tokens` is the number of scored tokens.
    """

    details = ("tokens", "bits_per_byte_interval")

    def sums(self, done: ForwardPass) -> Tensor:
        """Return batches, nats, tokens and bytes, and sums of products of nats and bytes, (7,)."""
        mean, count = model_loss(self.objective, done)
        size = in_double(done.inputs["scored_bytes"].sum())
        nats, one = mean * count, torch.ones_like(mean)
        return torch.stack([one, nats, one * count, size, nats * nats, nats * size, size * size])

    def result(self, sums: Sums) -> dict[str, float]:
        batches, nats, tokens, size, *products = map(float, sums)
        figures: dict[str, float] = {"tokens": int(tokens)}
        if size:
            figures["bits_per_byte"] = nats / (math.log(2) * size)
            if batches >= FEWEST_BATCHES and not self.objective.config.training.carry_state:
                width = _interval(int(batches), nats, size, products)
                figures["bits_per_byte_interval"] = width / math.log(2)
        return figures


def _interval(batches: int, nats: float, size: float, products: Sequence[float]) -> float:
    """Return half the width of the 95% interval of the nats per byte."""
    nats_squared, nats_by_bytes, bytes_squared = products
    ratio = nats / size
    squares = nats_squared - 2 * ratio * nats_by_bytes
    squares += ratio**2 * bytes_squared
    variance = max(0.0, squares) * batches / (batches - 1) / size**2
    return students_quantile(batches - 1) * math.sqrt(variance)


def students_quantile(freedom: int) -> float:
    """Return the two-sided 95% quantile of Student's t distribution (Cornish-Fisher expansion).

    The error is below 1% from 3 degrees of freedom.
    """
    z = QUANTILE
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


class Accuracy(Metric):
    """The share of the targets that the model predicts: those with the largest logit."""

    def sums(self, done: ForwardPass) -> Tensor:
        """Return the correct predictions and the number of targets, (2,)."""
        field = field_of(self.objective, "accuracy")
        logits, targets, scored = done.classified(field, "accuracy")
        correct = (logits.argmax(-1) == targets) & scored
        return in_double(torch.stack([correct.sum(), scored.sum()]))

    def result(self, sums: Sums) -> dict[str, float]:
        correct, targets = map(float, sums)
        return {"accuracy": correct / targets} if targets else {}


class Top5Accuracy(Metric):
    """The share of the targets that are among the five classes with the largest logits.

    Of equal logits the first ones count, as for the accuracy.
    """

    def sums(self, done: ForwardPass) -> Tensor:
        """Return the targets among the five and the number of targets, (2,)."""
        field = field_of(self.objective, "top5_accuracy")
        logits, targets, scored = done.classified(field, "top5_accuracy")
        found = sum_over_targets(_is_among_five, logits, targets, scored)
        return torch.stack([in_double(found), in_double(scored.sum())])

    def result(self, sums: Sums) -> dict[str, float]:
        found, targets = map(float, sums)
        return {"top5_accuracy": found / targets} if targets else {}


def _is_among_five(logits: Tensor, targets: Tensor) -> Tensor:
    own = logits.gather(-1, targets.long()[:, None])
    earlier = torch.arange(logits.shape[-1], device=logits.device) < targets[:, None]
    better = (logits > own) | ((logits == own) & earlier)
    return (better.sum(-1) < 5).to(logits)


class MicroF1(Metric):
    """The harmonic mean of precision and recall over all labels of all examples together.

    A label is predicted if its probability exceeds 0.5. Of examples with one label each, where the
    largest logit is the prediction, it would be the accuracy.
    """

    def sums(self, done: ForwardPass) -> Tensor:
        """Return the labels that are predicted rightly, predicted, and there, (3,)."""
        logits, targets = done.align(done.output, done.inputs)
        if not targets.is_floating_point() or logits.shape != targets.shape:
            found = f"{targets.dtype}".removeprefix("torch.")
            law = f"'micro_f1' needs real targets (N, C), 0 or 1 for each label, got {found}"
            field = field_of(self.objective, "micro_f1")
            raise ConfigError(f"{field}: {law} {tuple(targets.shape)}; name 'accuracy'")
        predicted, there = logits > 0, targets > 0.5
        counts = [(predicted & there).sum(), predicted.sum(), there.sum()]
        return in_double(torch.stack(counts))

    def result(self, sums: Sums) -> dict[str, float]:
        right, predicted, there = map(float, sums)
        both = predicted + there
        return {"micro_f1": 2 * right / both} if both else {}
