"""Plateaus are those of torch's `ReduceLROnPlateau`, and are counted once the warm-up is over."""

import math
import random
from dataclasses import astuple
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from model_foundry.config import TrainingConfig
from model_foundry.config.schedules import PlateauConfig
from model_foundry.training.plateau import Plateau, plateau_settings


def series(seed: int) -> list[float]:
    """Return values that fall or rise a little, with repeats and stretches without a gain."""
    draw, value, found = random.Random(seed), 5.0, []
    for _ in range(60):
        value += draw.choice((-0.5, -0.1, -0.001, 0.0, 0.0, 0.05, 0.4))
        found.append(abs(value))
    return found


@pytest.mark.parametrize("greater_is_better", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"patience": 0},
        {"patience": 3},
        {"patience": 1, "cooldown": 2},
        {"patience": 0, "cooldown": 5, "threshold": 0.01},
        {"patience": 2, "threshold": 0.0},
    ],
)
def test_reductions_are_those_of_torch(settings: dict[str, Any], greater_is_better: bool) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    mode = "max" if greater_is_better else "min"
    own = {"threshold": 1e-4, "eps": 0.0} | settings
    theirs = ReduceLROnPlateau(optimizer, mode, factor=0.5, **own)
    plateau, section = Plateau(), PlateauConfig(factor=0.5, **settings)
    for value in series(seed=7):
        before = optimizer.param_groups[0]["lr"]
        theirs.step(value)
        reduced = plateau.count(value, section, greater_is_better=greater_is_better)
        assert reduced == (optimizer.param_groups[0]["lr"] < before)
        assert 0.5**plateau.reductions == optimizer.param_groups[0]["lr"]
        assert (plateau.bad_evaluations, plateau.cooldown) == (
            theirs.num_bad_epochs,
            theirs.cooldown_counter,
        )
    assert plateau.reductions > 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_no_improvement(bad: float) -> None:
    plateau, section = Plateau(), PlateauConfig(patience=1)
    found = [
        plateau.count(value, section, greater_is_better=False) for value in (bad, 2.0, bad, bad)
    ]
    assert found == [False, False, False, True]
    assert astuple(plateau) == (2.0, 0, 0, 1)


def test_the_threshold_is_a_share_of_the_size_of_a_negative_value() -> None:
    """Where torch takes every value for an improvement."""
    plateau, section = Plateau(), PlateauConfig(patience=9, threshold=0.1)
    values = (-10.0, -10.5, -11.5)
    for value in values:
        plateau.count(value, section, greater_is_better=False)
    assert (plateau.best, plateau.bad_evaluations) == (-11.5, 0)
    plateau.count(-12.0, section, greater_is_better=False)
    assert (plateau.best, plateau.bad_evaluations) == (-11.5, 1)


def test_only_evaluations_after_the_warm_up_count_and_only_for_this_schedule() -> None:
    training = TrainingConfig(
        max_steps=9,
        warmup_steps=4,
        lr_scheduler_type="reduce_lr_on_plateau",
        reduce_lr_on_plateau={"patience": 5},  # type: ignore[call-arg]
    )
    assert [plateau_settings(training, step) is None for step in (0, 3, 4, 9)] == [
        *(True, True, False, False)
    ]
    found = plateau_settings(training, 4)
    assert found is not None and found.patience == 5
    assert plateau_settings(TrainingConfig(max_steps=9), 4) is None
