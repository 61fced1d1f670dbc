"""Non-finite numbers never reach the weights, whether checked before the update or later.

Torch's fused optimizer leaves out updates on the CPU as it does on a GPU, so that the way of a GPU
is tried here.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_foundry.config import TrainingConfig
from model_foundry.data.batches.loaders import Batch, batch_digest
from model_foundry.errors import NonFiniteError
from model_foundry.training.nonfinite import MAX_UNCHECKED, NonFiniteGuard, StepResult
from model_foundry.training.optimizer import build_optimizer

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
BAD = [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)]


def batch(index: int) -> Batch:
    ids = torch.full((1, 3), index)
    return Batch({"input_ids": ids, "labels": ids}, {"tokens": 3}, keys=[(0, index)])


def result(loss: float = 1.0, norm: float = 1.0) -> StepResult:
    return StepResult(torch.tensor(loss), torch.tensor(norm))


class Run:
    """Steps of a small model, whose gradients are finite whatever is reported of them."""

    def __init__(self, *, deferred: bool, **settings: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(3, 2)
        config = TrainingConfig(max_steps=9, learning_rate=0.1, **settings)
        self.optimizer = build_optimizer(self.model, config)
        self.guard = NonFiniteGuard(at_once=not deferred)
        if deferred:
            self.guard.enable_skipping(self.optimizer, CPU)
        self.step = 0

    def take(self, found: StepResult) -> None:
        self.step += 1
        self.model(torch.ones(1, 3)).sum().backward()
        self.guard.record(self.step, found, [batch(self.step)], 0.5)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def all(self) -> dict[str, Tensor]:
        moments = {
            f"{index}/{kind}": tensor
            for index, state in enumerate(self.optimizer.state.values())
            for kind, tensor in state.items()
        }
        weights = dict(self.model.named_parameters())
        return {name: t.detach().clone() for name, t in {**weights, **moments}.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "sgd", "sgd": {"momentum": 0.9}}])
@pytest.mark.parametrize(("loss", "norm"), BAD)
def test_on_a_gpu_no_update_is_made_from_the_first_bad_step_on(
    loss: float, norm: float, optimizer: dict[str, Any]
) -> None:
    run = Run(deferred=True, **optimizer)
    assert run.optimizer._step_supports_amp_scaling  # type: ignore[attr-defined]
    run.take(result())
    good = run.all()
    run.take(result())
    assert not same(run.all(), good)  # else the comparison below would be empty
    good = run.all()
    run.take(result(loss, norm))
    run.take(result())
    run.take(result(math.nan))
    assert same(run.all(), good)
    with pytest.raises(NonFiniteError, match=r"^step 3: loss .* on examples 3; the update was not"):
        run.guard.check()
    assert same(run.all(), good)


@pytest.mark.parametrize(("loss", "norm"), BAD)
def test_on_a_cpu_the_bad_step_itself_raises(loss: float, norm: float) -> None:
    run = Run(deferred=False)
    run.take(result())
    good = run.all()
    with pytest.raises(NonFiniteError, match=r"^step 2: "):
        run.take(result(loss, norm))
    assert same(run.all(), good)


def test_the_error_holds_the_facts_of_the_bad_step() -> None:
    run = Run(deferred=True)
    for found in (result(), result(math.nan, 2.0), result()):
        run.take(found)
    with pytest.raises(NonFiniteError) as raised:
        run.guard.check()
    facts = raised.value.facts
    assert (facts["step"], facts["grad_norm"], facts["learning_rate"]) == (2, 2.0, 0.5)
    assert facts["examples"] == [{"pass": 0, "example": 2}]
    assert facts["batch_digest"] == batch_digest([batch(2)])


def test_updates_without_a_fault_are_those_without_a_watch() -> None:
    runs = [Run(deferred=True), Run(deferred=False)]
    for run in runs:
        for _ in range(5):
            run.take(result())
        run.guard.check()
    assert same(*(run.all() for run in runs))


def test_a_gpu_is_checked_at_intervals_whatever_the_log_does() -> None:
    """The facts kept for the message would grow without end otherwise."""
    run = Run(deferred=True)
    run.take(result(math.nan))
    for _ in range(MAX_UNCHECKED - 2):
        run.take(result())
    with pytest.raises(NonFiniteError, match=r"^step 1: "):
        run.take(result())


def test_no_step_is_checked_twice() -> None:
    run = Run(deferred=True)
    run.take(result(math.nan))
    with pytest.raises(NonFiniteError):
        run.guard.check()
    run.guard.check()


def test_under_a_gradient_scaler_only_the_loss_must_be_finite() -> None:
    scaled = NonFiniteGuard(at_once=True, scaled=True)
    scaled.record(1, result(norm=math.inf), [batch(1)], 0.5)
    with pytest.raises(NonFiniteError):
        scaled.record(2, result(loss=math.inf), [batch(1)], 0.5)


def adamw(**settings: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(nn.Linear(2, 2).parameters(), **settings)


class OwnUpdate(torch.optim.Optimizer):
    """Has a setting of the same name, but reads no flag."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 2).parameters(), {"lr": 0.1, "fused": True})


@pytest.mark.parametrize(
    ("device", "optimizer", "scaled"),
    [
        (CPU, adamw(fused=True), False),
        (CUDA, adamw(), False),
        (CUDA, adamw(fused=True), True),
        (CUDA, torch.optim.Adafactor(nn.Linear(2, 2).parameters()), False),
        (CUDA, torch.optim.SGD(nn.Linear(2, 2).parameters()), False),
        (CUDA, OwnUpdate(), False),
    ],
)
def test_without_skipped_updates_every_step_is_checked_at_once(
    device: torch.device, optimizer: Any, scaled: bool
) -> None:
    assert NonFiniteGuard.of(optimizer, device=device, scaled=scaled).at_once
    assert not hasattr(optimizer, "found_inf")
