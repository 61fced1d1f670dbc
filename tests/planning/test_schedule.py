"""The steps of a schedule, and what it leaves on the disk."""

from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import TrainingConfig
from model_foundry.planning.disk import plan_disk
from model_foundry.planning.figures import Length
from model_foundry.planning.schedule import build_schedule, due_steps, kept_checkpoints
from model_foundry.training.lr_schedule import is_due
from model_foundry.training.milestones import is_milestone


def length(steps: int, *, words: float = 7.5, tokens: float = 10) -> Length:
    per_step = {"tokens": tokens, "words": words}
    return Length(
        steps=steps,
        examples_per_step=2,
        examples=10,
        passes=1.0,
        first_epoch=15,
        per_step=per_step,
        in_all={unit: round(steps * number) for unit, number in per_step.items()},
        row=5,
        evaluated=4,
    )


def training(**settings: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({"max_steps": 40, **settings})


@pytest.mark.parametrize("every", [None, 1, 7, 10, 40, 50])
def test_due_steps_are_those_of_the_loop(every: int | None) -> None:
    assert due_steps(every, 40) == [step for step in range(1, 41) if is_due(step, every, 40)]


@pytest.mark.parametrize(
    "milestones",
    [
        {"steps": [3, 17, 99]},
        {"logarithmic": 1},
        {"logarithmic": 8},
        {"logarithmic": 12},
        {"logarithmic": 100},
        {"tokens": 25},
        {"tokens": [1, 10, 11, 399, 400, 401]},
        {"words": 40},
        {"first_epoch": 4},
        {"first_epoch": 1000},
        {"words": [5, 8], "steps": [2], "logarithmic": 30},
    ],
)
def test_milestones_are_those_of_the_loop(milestones: dict[str, Any]) -> None:
    config, whole = training(milestones=milestones), length(40)
    expected = [
        step
        for step in range(1, 41)
        if is_milestone(
            config.milestones,
            step=step,
            words=(int((step - 1) * 7.5), int(step * 7.5)),
            tokens=((step - 1) * 10, step * 10),
            steps_per_epoch=whole.first_epoch,
        )
    ]
    found = build_schedule(config, whole)
    assert found.milestones == expected
    assert found.about == bool(milestones.keys() & {"words", "tokens"})


def test_the_marks_of_babylm_are_found_in_a_long_run() -> None:
    config = training(milestones={"words": "babylm"})
    found = build_schedule(config, length(3000, words=10_000)).milestones
    assert found == [*range(100, 1001, 100), 2000, 3000]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, (1, 0)),
        ({"save_steps": 10}, (4, 0)),
        ({"save_strategy": "no", "save_steps": 10, "milestones": {"steps": [5]}}, (0, 0)),
        ({"save_steps": 10, "save_total_limit": 2}, (2, 0)),
        ({"save_steps": 10, "milestones": {"steps": [5, 20]}}, (4, 1)),
        ({"save_steps": 10, "save_total_limit": 2, "milestones": {"steps": [5, 20]}}, (2, 2)),
        (
            {
                "save_steps": 10,
                "save_total_limit": 2,
                "milestones": {"steps": [5, 20], "save_only_model": False},
            },
            (4, 0),
        ),
    ],
)
def test_what_is_kept(settings: dict[str, Any], kept: tuple[int, int], tmp_path: Path) -> None:
    config = training(**settings)
    schedule = build_schedule(config, length(40))
    assert kept_checkpoints(config, schedule) == kept
    disk = plan_disk(config, schedule, checkpoint=1000, model=10, models=1, run=tmp_path / "run")
    deleted = len({*schedule.checkpoints, *schedule.milestones}) > sum(kept)
    assert disk.in_all == (kept[0] + deleted) * 1000 + (kept[1] + 1) * 10
    assert disk.free is not None and disk.free > 0


def test_the_checkpoints_of_a_run_are_there_already(tmp_path: Path) -> None:
    config, run = training(save_steps=10), tmp_path / "run"
    for place in ("checkpoints/step-00000010", "checkpoints/.step-00000020", "model"):
        (run / place).mkdir(parents=True)
        (run / place / "weights").write_bytes(b"x" * 30)
    for directory, present in ((run, 30), (tmp_path / "new", 0)):
        schedule = build_schedule(config, length(40))
        disk = plan_disk(config, schedule, checkpoint=1000, model=10, models=1, run=directory)
        assert disk.present == present
