"""Checkpoints by time, and state that none can hold."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry.config import OPTIMIZERS
from model_foundry.doctor.same_run import differences
from model_foundry.errors import ConfigError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.experiment.train import train
from model_foundry.foundation.failpoints import watching
from model_foundry.training import hooks
from model_foundry.training.checkpoint.choice import step_directories
from model_foundry.training.checkpoint.state_file import read_state
from model_foundry.training.optimizer import register_optimizer
from tests.children import KILLED, in_child
from tests.experiments import tiny_experiment

STEPS = 24
LIMIT = "training.save_total_limit=2"


class Clock:
    """A clock that advances by `minutes` with each step only."""

    def __init__(self, minutes: float) -> None:
        self.minutes, self.seconds = minutes, 1e6

    def __call__(self) -> float:
        return self.seconds

    def step(self, point: str) -> None:
        if point.endswith(" made"):
            self.seconds += self.minutes * 60


def train_by(minutes: float, directory: Path, *overrides: str, killed_at: int = 0) -> None:
    """Train with steps of so many minutes; die at one of them."""

    def die(point: str) -> None:
        if point == f"step {killed_at} made":
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hooks, "now", clock := Clock(minutes))
        with watching(clock.step), watching(die):
            train(
                tiny_experiment("lstm", directory, f"training.max_steps={STEPS}", *overrides),
            )


def killed(minutes: float, directory: Path, at: int) -> None:
    train_by(minutes, directory, killed_at=at)


def saved(directory: Path) -> dict[int, bool]:
    """Return the steps that are on the disk, and whether each was written because of the time."""
    found = [read_state(path) for path in step_directories(directory / "run" / "checkpoints")]
    return {state.counters.step: state.timed for state in found}


@pytest.mark.slow
def test_a_default_run_that_is_killed_loses_fifteen_minutes_at_most(tmp_path: Path) -> None:
    train_by(0, tmp_path / "whole", "training.save_minutes=null")
    assert saved(tmp_path / "whole") == {STEPS: False}
    ended = in_child(killed, 1.0, tmp_path / "cut", 20)
    assert ended.code == KILLED
    (step,) = saved(tmp_path / "cut")
    assert 20 - 15 - 1 <= step < 20  # a due checkpoint is written after the current step
    train_by(1.0, tmp_path / "cut")
    assert list(saved(tmp_path / "cut").items())[-1] == (STEPS, False)
    runs = (tmp_path / name / "run" for name in ("whole", "cut"))
    assert list(differences(*runs)) == []


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        # 15 minutes of 4 are over at step 4, so that every fifth step is saved
        ([], {20: True, 24: False}),
        (["training.save_minutes=null"], {24: False}),
        (["training.save_minutes=1000"], {24: False}),
        # a checkpoint for another reason sets the clock back
        (
            ["training.save_steps=4"],
            dict.fromkeys(range(4, 28, 4), False),
        ),
        (["training.save_steps=12"], {12: False, 22: True, 24: False}),
        (
            ["training.save_steps=8", "training.save_total_limit=2"],
            {16: False, 21: True, 24: False},
        ),
        # a milestone stays, and keeps what is needed to resume as long as a timed one would
        (["training.milestones={steps: [5, 6]}"], {5: True, 6: False, 20: True, 24: False}),
    ],
)
def test_time_decides_when_and_newer_ones_replace_what_it_wrote(
    settings: list[str], found: dict[int, bool], tmp_path: Path
) -> None:
    train_by(4, tmp_path, *settings)
    assert saved(tmp_path) == found
    assert (RunDirectory(tmp_path / "run").checkpoint(24) / "optimizer.safetensors").exists()


class Listing(torch.optim.SGD):
    """Keeps a list."""

    def step(self, closure: Any = None) -> None:
        super().step(closure)
        self.state[self.param_groups[0]["params"][0]]["seen"] = [1, 2]


def test_state_that_no_checkpoint_can_hold_ends_a_run_after_its_first_step(tmp_path: Path) -> None:
    made: list[str] = []
    try:
        register_optimizer("listing")(lambda groups, training: Listing(groups, lr=0.1))
        config = tiny_experiment("rnn", tmp_path, "training.optimizer=listing")
        with (
            watching(made.append),
            pytest.raises(ConfigError, match=r"Listing keeps .*/seen, whic"),
        ):
            train(config)
    finally:
        OPTIMIZERS.remove("listing")
    assert [point for point in made if point.endswith(" made")] == ["step 1 made"]
