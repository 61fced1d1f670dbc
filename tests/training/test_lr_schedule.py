"""The learning rate by value at chosen steps: the numbers are the specification."""

import pytest

from model_foundry.config import TrainingConfig
from model_foundry.training.lr_schedule import is_due, learning_rate, steps_of_epochs


def config(kind: str, **settings: float) -> TrainingConfig:
    return TrainingConfig(
        max_steps=110, learning_rate=1.0, warmup_steps=10, lr_scheduler_type=kind, **settings
    )


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_warm_up_rises_linearly_to_the_peak(kind: str) -> None:
    rates = [learning_rate(step, config(kind), 110) for step in range(11)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0


@pytest.mark.parametrize(
    ("kind", "halfway", "end"), [("cosine", 0.55, 0.1), ("linear", 0.55, 0.1), ("constant", 1, 1)]
)
def test_schedule_falls_to_its_minimum_at_the_horizon(
    kind: str, halfway: float, end: float
) -> None:
    settings = config(kind, min_learning_rate=0.1)
    assert learning_rate(60, settings, 110) == pytest.approx(halfway)
    assert learning_rate(110, settings, 110) == pytest.approx(end)
    assert learning_rate(5000, settings, 110) == pytest.approx(end)


def test_cosine_is_slow_at_both_ends_and_linear_is_even() -> None:
    quarter = {k: learning_rate(35, config(k), 110) for k in ("cosine", "linear")}
    assert quarter["linear"] == pytest.approx(0.75)
    assert quarter["cosine"] == pytest.approx(0.8535534)


def test_no_warm_up_starts_at_the_peak() -> None:
    assert learning_rate(0, TrainingConfig(max_steps=5, learning_rate=0.3), 5) == 0.3


def test_epochs_show_every_block_that_often() -> None:
    assert steps_of_epochs(3, blocks=10, blocks_per_step=4) == 8  # 30 blocks in steps of 4
    assert steps_of_epochs(1, blocks=3, blocks_per_step=8) == 1


def test_what_is_due_is_due_at_the_end_too() -> None:
    assert [s for s in range(1, 8) if is_due(s, 3, 7)] == [3, 6, 7]
    assert [s for s in range(1, 8) if is_due(s, None, 7)] == [7]
