"""The expected calibration error: by hand, by a second implementation, over any batches."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model_foundry.objectives import logit_chunks
from model_foundry.objectives.calibration import BINS, CalibrationError
from model_foundry.objectives.metrics import Top5Accuracy


class Done:
    """A forward pass with these logits and targets, of which -100 is none."""

    def __init__(self, logits: Tensor, targets: Tensor) -> None:
        self.logits, self.targets = logits, targets

    def classified(self, field: str, name: str) -> tuple[Tensor, Tensor, Tensor]:
        return self.logits, self.targets, self.targets != -100


class Task:
    """An objective that names no metric."""

    metric_names = ()


def measured(kind: type, *parts: tuple[Tensor, Tensor]) -> float | None:
    """Return the figure of a metric over some batches."""
    objective: Any = Task()
    metric = kind(objective)
    sums = [metric.sums(Done(*part)).numpy() for part in parts]
    return next(iter(metric.result(sum(sums[1:], sums[0])).values()), None)


def by_hand(logits: Tensor, targets: Tensor) -> float:
    """Return the error as the paper writes it, target by target."""
    scored = targets != -100
    shares = torch.softmax(logits[scored].double(), -1).numpy()
    confidence, correct = shares.max(-1), shares.argmax(-1) == targets[scored].numpy()
    error = 0.0
    for index in range(BINS):
        within = (confidence > index / BINS) & (confidence <= (index + 1) / BINS)
        if within.any():
            gap = abs(correct[within].mean() - confidence[within].mean())
            error += within.sum() / len(correct) * gap
    return float(error)


def case(seed: int, classes: int = 7, rows: int = 400) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=draw) * (1 + seed)
    targets = torch.randint(classes, (rows,), generator=draw)
    targets[torch.rand(rows, generator=draw) < 0.2] = -100
    return logits, targets


@pytest.mark.parametrize("seed", range(5))
def test_the_error_is_that_of_the_paper(seed: int) -> None:
    assert measured(CalibrationError, case(seed)) == pytest.approx(by_hand(*case(seed)), abs=1e-6)


def test_the_error_of_a_few_targets_by_hand() -> None:
    # confidences 0.8, 0.8, 0.6; the first and the last are right
    logits = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6]]).log()
    targets = torch.tensor([0, 1, 1])
    expected = 2 / 3 * abs(0.5 - 0.8) + 1 / 3 * abs(1.0 - 0.6)
    assert measured(CalibrationError, (logits, targets)) == pytest.approx(expected, abs=1e-6)
    certain = (torch.tensor([[100.0, 0.0]] * 3), torch.tensor([0, 0, 0]))
    assert measured(CalibrationError, certain) == 0.0


@pytest.mark.parametrize("kind", [CalibrationError, Top5Accuracy])
def test_batches_and_chunks_do_not_matter(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = case(2, classes=30)
    whole = measured(kind, (logits, targets))
    cut = [(logits[i : i + 33], targets[i : i + 33]) for i in range(0, 400, 33)]
    assert measured(kind, *cut) == pytest.approx(whole, rel=1e-12)
    monkeypatch.setattr(logit_chunks, "CHUNK_BYTES", 4 * 30 * 7)
    shaped = (logits.view(20, 20, 30), targets.view(20, 20))
    assert measured(kind, shaped) == whole


@pytest.mark.parametrize("kind", [CalibrationError, Top5Accuracy])
def test_without_a_target_there_is_no_figure(kind: type) -> None:
    assert measured(kind, (torch.randn(3, 9), torch.full((3,), -100))) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("classes", [3, 5, 6, 40])
def test_the_target_is_among_the_first_five(dtype: torch.dtype, classes: int) -> None:
    logits, targets = case(0, classes=classes)
    logits = logits.to(dtype)
    ranked = np.argsort(-logits.double().numpy(), axis=-1, kind="stable")[:, :5]
    scored = (targets != -100).numpy()
    hits = (ranked == targets.numpy()[:, None]).any(-1)[scored]
    assert measured(Top5Accuracy, (logits, targets)) == pytest.approx(hits.mean(), rel=1e-12)


def test_of_equal_logits_the_first_five_count() -> None:
    logits, targets = torch.zeros(8, 8), torch.arange(8)
    assert measured(Top5Accuracy, (logits, targets)) == 5 / 8
