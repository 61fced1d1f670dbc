"""The learning rate by value at chosen steps: the numbers are the specification."""

import math
from collections.abc import Iterator
from typing import Any

import pytest

from model_foundry.config import SCHEDULES, Section, TrainingConfig
from model_foundry.errors import ConfigError
from model_foundry.training.lr_schedule import (
    is_due,
    learning_rate,
    register_schedule,
    steps_of_epochs,
)
from model_foundry.training.schedule_point import SchedulePoint


def config(kind: str, **settings: Any) -> TrainingConfig:
    return TrainingConfig(
        max_steps=110, learning_rate=1.0, warmup_steps=10, lr_scheduler_type=kind, **settings
    )


KINDS = [spec.name for spec in SCHEDULES.known() if spec.target.startswith("model_foundry.")]


@pytest.mark.parametrize("kind", KINDS)
def test_warm_up_rises_linearly_to_the_peak(kind: str) -> None:
    rates = [learning_rate(step, config(kind), 110) for step in range(11)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1.0


def test_no_warm_up_starts_at_the_peak() -> None:
    assert learning_rate(0, TrainingConfig(max_steps=5, learning_rate=0.3), 5) == 0.3


@pytest.fixture
def forgotten() -> Iterator[str]:
    """The name of a plugin's schedule, which is forgotten afterwards."""
    yield "steps"
    SCHEDULES.remove("steps")


class Steps(Section):
    halves: int = 1


def test_a_schedule_of_a_plugin_gets_progress_settings_and_its_section(forgotten: str) -> None:
    @register_schedule(forgotten, schema=Steps)
    def steps(point: SchedulePoint, training: TrainingConfig, section: Steps) -> float:
        return training.learning_rate / 2 ** int(point.progress * section.halves)

    settings = config(forgotten, steps={"halves": 2})
    rates = [learning_rate(step, settings, 110) for step in (4, 10, 59, 60, 110, 200)]
    assert rates == [0.5, 1.0, 1.0, 0.5, 0.25, 0.25]


@pytest.mark.parametrize("rate", [math.nan, math.inf, -0.1, None, "0.1"])
def test_a_schedule_that_gives_no_rate_is_refused(rate: Any, forgotten: str) -> None:
    register_schedule(forgotten)(lambda point, training: rate)
    law = rf"^training\.lr_scheduler_type: the schedule 'steps' must return .* got {rate!r} for"
    with pytest.raises(ConfigError, match=law):
        learning_rate(20, config(forgotten), 110)


def test_epochs_show_every_block_that_often() -> None:
    assert steps_of_epochs(3, blocks=10, blocks_per_step=4) == 8  # 30 blocks in steps of 4
    assert steps_of_epochs(1, blocks=3, blocks_per_step=8) == 1


def test_what_is_due_is_due_at_the_end_too() -> None:
    assert [s for s in range(1, 8) if is_due(s, 3, 7)] == [3, 6, 7]
    assert [s for s in range(1, 8) if is_due(s, None, 7)] == [7]
