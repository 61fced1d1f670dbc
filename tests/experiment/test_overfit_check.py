"""The check that a model learns a few examples by heart: its figures, and what fails it."""

import json
from pathlib import Path

import pytest

from model_foundry.config import ExperimentConfig
from model_foundry.errors import CheckFailedError
from model_foundry.experiment.overfit_check import check_overfit
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.experiment.train import train
from tests.experiments import tiny_experiment

BY_HEART = (
    *("debug.limit_train=1", "debug.fixed_draws=true", "debug.regularization=false"),
    *("debug.overfit_below=0.2", "training.max_steps=60", "training.lr_scheduler_type=constant"),
    "training.per_device_train_batch_size=2",
)


def log(directory: Path, losses: list[float]) -> Path:
    """Write the log of a run with these losses, a step each."""
    path = directory / "metrics.jsonl"
    lines = [{"step": step, "train/loss": loss} for step, loss in enumerate(losses, 1)]
    lines.insert(2, {"step": 2, "eval/loss": 0.0})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def checking(directory: Path) -> ExperimentConfig:
    return tiny_experiment("gpt2", directory, "debug.overfit_below=0.5")


def test_the_mean_of_the_last_pass_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "model_foundry")
    path = log(tmp_path, [4.0, 9.0, 1.0, 2.0])
    check_overfit(checking(tmp_path), path, steps=4, steps_per_pass=2)
    assert "training loss 4 at step 1, 1.5 in the last pass: 37.5% of it, below" in caplog.text
    with pytest.raises(CheckFailedError, match=r"4 in the last pass: 100\.0% of it, not below"):
        check_overfit(checking(tmp_path), path, steps=4, steps_per_pass=3)


def test_equal_is_not_below(tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError) as failed:
        check_overfit(checking(tmp_path), log(tmp_path, [4.0, 2.0]), steps=2, steps_per_pass=1)
    [line] = str(failed.value).splitlines()
    assert "50.0% of it, not below debug.overfit_below (=0.5)" in line
    assert "training.learning_rate (=0.01)" in line
    assert failed.value.exit_code == 1


@pytest.mark.parametrize(
    ("losses", "advice"),
    [
        ([4.0, 3.0, 2.5], "it still fell, from 3 in the pass before; raise training.epochs or"),
        ([4.0, 3.0, 2.95], "look at the labels of these examples, at training.learning_rate"),
        ([4.0, 2.5, 3.0], "look at the labels of these examples"),
        ([4.0], "look at the labels of these examples"),  # there is no pass before
    ],
)
def test_the_advice_depends_on_the_last_two_passes(
    losses: list[float], advice: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckFailedError, match=f"; {advice}"):
        path = log(tmp_path, losses)
        check_overfit(checking(tmp_path), path, steps=len(losses), steps_per_pass=1)


def test_nothing_is_checked_unasked(tmp_path: Path) -> None:
    check_overfit(tiny_experiment("gpt2", tmp_path), tmp_path / "none", steps=2, steps_per_pass=1)


@pytest.mark.parametrize("kind", ["gpt2", "bert", "lstm", "gru", "rnn", "transformer_encoder"])
def test_a_model_learns_two_examples_by_heart(kind: str, tmp_path: Path) -> None:
    train(tiny_experiment(kind, tmp_path, *BY_HEART))


def test_one_that_does_not_learn_ends_with_its_status(tmp_path: Path) -> None:
    settings = ("training.learning_rate=1e-12", "training.max_steps=4")
    config = tiny_experiment("gpt2", tmp_path, *BY_HEART, *settings)
    with pytest.raises(CheckFailedError, match=r"100\.0% of it"):
        train(config)
    run = RunDirectory(config.output_dir)
    status = run.status()
    assert (status.state, status.exit_code, status.step) == ("failed", 1, 4)
    assert run.measurement("loss-step-00000004")  # its figures are there to look at
    with pytest.raises(CheckFailedError):
        train(config)  # from its checkpoint


def test_masks_that_change_cannot_be_learned_by_heart(tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError):
        train(tiny_experiment("bert", tmp_path, *BY_HEART, "debug.fixed_draws=false"))
