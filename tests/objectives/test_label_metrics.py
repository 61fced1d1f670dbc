"""Macro F1 and the correlation of Matthews: by hand, by formula, over any batches."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model_foundry.objectives.label_metrics import MacroF1, Matthews

TARGETS = [0, 0, 0, 1, 1, 2, 2, 2, 2, 0]
PREDICTED = [0, 0, 1, 1, 2, 2, 2, 2, 0, 2]


class Done:
    """A forward pass with these logits and targets."""

    def __init__(self, logits: Tensor, targets: Tensor) -> None:
        self.predictions = self.pair = logits, targets
        self.output = self.inputs = None

    def align(self, output: Any, inputs: Any) -> tuple[Tensor, Tensor]:
        return self.pair

    def require_classes(self, field: str, name: str) -> None:
        pass


class Task:
    """An objective that names no metric."""

    metric_names = ()


def done(predicted: list[int], targets: list[int], classes: int = 3) -> Any:
    return Done(torch.eye(classes)[predicted], torch.tensor(targets))


def measured(metric: Any, *passes: Any) -> Any:
    made = metric(Task())
    return made.result(sum(made.sums(each) for each in passes).numpy())


def test_macro_f1_by_hand() -> None:
    # label 0: 2 right of 3 predicted and 4 there; 1: 1 of 2 and 2; 2: 3 of 5 and 4
    expected = (4 / 7 + 2 / 4 + 6 / 9) / 3
    assert measured(MacroF1, done(PREDICTED, TARGETS)) == {"macro_f1": pytest.approx(expected)}


def test_a_label_that_neither_occurs_nor_is_predicted_is_left_out() -> None:
    assert measured(MacroF1, done([0, 1], [0, 1])) == {"macro_f1": 1.0}


def test_macro_f1_of_several_labels_by_hand() -> None:
    logits = torch.tensor([[1.0, -1.0], [2.0, 3.0], [-1.0, 0.5]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    # label 0: 1 right, 2 predicted, 1 there; 1: 1 right, 2 predicted, 1 there
    assert measured(MacroF1, Done(logits, targets)) == {"macro_f1": pytest.approx(2 / 3)}


def test_matthews_of_two_classes_is_the_formula_of_four_counts() -> None:
    predicted, targets = [1] * 6 + [0] * 5, [1] * 4 + [0] * 2 + [1] * 1 + [0] * 4
    tp, fp, fn, tn = 4, 2, 1, 4
    expected = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    found = measured(Matthews, done(predicted, targets, 2))
    assert found == {"matthews": pytest.approx(expected)}


def test_matthews_of_more_classes_is_the_correlation_of_indicators() -> None:
    one, other = np.eye(3)[TARGETS], np.eye(3)[PREDICTED]

    def covariance(x: Any, y: Any) -> float:
        return float(((x - x.mean(0)) * (y - y.mean(0))).sum())

    expected = covariance(one, other) / math.sqrt(covariance(one, one) * covariance(other, other))
    assert measured(Matthews, done(PREDICTED, TARGETS)) == {"matthews": pytest.approx(expected)}


@pytest.mark.parametrize(("predicted", "targets"), [([1, 1], [0, 1]), ([0, 1], [1, 1])])
def test_matthews_is_0_where_one_side_is_constant(predicted: Any, targets: Any) -> None:
    assert measured(Matthews, done(predicted, targets)) == {"matthews": 0.0}


@pytest.mark.parametrize("metric", [MacroF1, Matthews])
def test_batches_make_no_difference(metric: Any) -> None:
    whole = measured(metric, done(PREDICTED, TARGETS))
    parts = [done(PREDICTED[a:b], TARGETS[a:b]) for a, b in ((0, 1), (1, 7), (7, 10))]
    assert measured(metric, *parts) == whole


@pytest.mark.parametrize("metric", [MacroF1, Matthews])
def test_no_target_is_no_figure(metric: Any) -> None:
    assert measured(metric, done([], [])) == {}


@pytest.mark.parametrize(
    ("predicted", "targets"),
    [
        (PREDICTED, TARGETS),
        ([0, 0, 1, 1, 0], [0, 1, 1, 2, 2]),  # 2 is never predicted
        ([0, 2, 1, 1, 2], [0, 1, 1, 0, 0]),  # 2 does not occur
        ([1, 1, 1], [0, 1, 2]),  # one class is predicted
        ([0, 1, 2], [1, 1, 1]),  # one class occurs
        ([1, 1], [1, 1]),
        ([0, 0], [1, 1]),
    ],
)
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
def test_both_are_those_of_scikit_learn(predicted: list[int], targets: list[int]) -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    f1 = theirs.f1_score(targets, predicted, average="macro", zero_division=0)
    assert measured(MacroF1, done(predicted, targets)) == {"macro_f1": pytest.approx(f1)}
    matthews = theirs.matthews_corrcoef(targets, predicted)
    found = measured(Matthews, done(predicted, targets))
    assert found == {"matthews": pytest.approx(matthews)}
