"""Metrics of the training batches between two lines of the log, in a whole and a resumed run."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import METRICS
from model_foundry.doctor.same_run import differences
from model_foundry.experiment.train import train
from model_foundry.foundation.failpoints import watching
from model_foundry.objectives.measure import Metrics
from model_foundry.training.checkpoint.state_file import read_state
from model_foundry.training.metrics_log import read_metrics
from tests.children import KILLED, in_child
from tests.experiments import tiny_experiment
from tests.training.test_loop import without_dropout

EVERY_FOURTH = ("training.logging_steps=4", "training.max_steps=8")
MEASURED = "training.train_metrics=[perplexity, accuracy]"


def logged(directory: Path) -> dict[int, dict[str, Any]]:
    """Return the lines of training by step."""
    lines = read_metrics(directory / "run" / "metrics.jsonl")
    return {line["step"]: line for line in lines if "train/grad_norm" in line}


def test_a_line_has_the_metrics_of_all_steps_since_the_line_before(tmp_path: Path) -> None:
    """Each step of a causal model has as many targets, so that their mean is that of the steps."""
    each, fourth = tmp_path / "each", tmp_path / "fourth"
    train(tiny_experiment("gpt2", each, MEASURED, "training.max_steps=8"))
    train(tiny_experiment("gpt2", fourth, MEASURED, *EVERY_FOURTH))
    single, found = logged(each), logged(fourth)
    assert list(single) == list(range(1, 9)) and list(found) == [4, 8]
    for step, line in single.items():
        assert line["train/perplexity"] == pytest.approx(math.exp(line["train/loss"]), rel=1e-5)
        assert 0 <= line["train/accuracy"] <= 1, step
    assert any(line["train/accuracy"] > 0 for line in single.values())
    for last, line in found.items():
        steps = [single[step] for step in range(last - 3, last + 1)]
        nats = sum(step["train/loss"] for step in steps) / 4
        assert line["train/perplexity"] == pytest.approx(math.exp(nats), rel=1e-5)
        correct = sum(step["train/accuracy"] for step in steps) / 4
        assert line["train/accuracy"] == pytest.approx(correct, rel=1e-9)


def test_they_stand_on_the_line_of_progress_without_details(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(METRICS.load("perplexity"), "details", ("perplexity",))
    train(tiny_experiment("lstm", tmp_path, MEASURED, *EVERY_FOURTH))
    lines = [line for line in capsys.readouterr().err.splitlines() if "|g|" in line]
    assert len(lines) == 2
    for line, found in zip(lines, logged(tmp_path).values(), strict=True):
        assert (
            f"  train accuracy {found['train/accuracy']:.4f}  " in line and "perplexity" not in line
        )


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_accumulation_does_not_change_them(kind: str, tmp_path: Path) -> None:
    found = []
    for size in (4, 1):
        config = without_dropout(
            kind,
            tmp_path / str(size),
            MEASURED,
            *EVERY_FOURTH,
            f"training.per_device_train_batch_size={size}",
            f"training.gradient_accumulation_steps={4 // size}",
        )
        train(config)
        found.append(logged(tmp_path / str(size)))
    for one, other in zip(*(lines.values() for lines in found), strict=True):
        assert one["train/batch_digest"] == other["train/batch_digest"]
        assert one["train/perplexity"] == pytest.approx(other["train/perplexity"], rel=1e-4)
        assert one["train/accuracy"] == pytest.approx(other["train/accuracy"], abs=1e-2)


def test_measuring_changes_no_bit_of_what_is_trained(tmp_path: Path) -> None:
    """If the logits are computed anyway; the loss without them is another kernel."""
    runs, logits = [], "training.speed.loss_without_logits=false"
    for name, settings in (("with", [MEASURED]), ("without", [])):
        config = without_dropout("lstm", tmp_path / name, *settings, logits, *EVERY_FOURTH)
        train(config)
        runs.append(logged(tmp_path / name))
    for measured, plain in zip(*(lines.values() for lines in runs), strict=True):
        for name in ("train/loss", "train/grad_norm", "train/batch_digest"):
            assert measured[name] == plain[name]
        assert {"train/perplexity", "train/accuracy"} & plain.keys() == set()


# --- resuming -------------------------------------------------------------------------------------

SAVED = ("training.save_steps=2", *EVERY_FOURTH, MEASURED)


def train_until(step: int, directory: Path) -> None:
    """Train, and die after a step."""

    def die(point: str) -> None:
        if point == f"step {step} made":
            os.kill(os.getpid(), signal.SIGKILL)

    with watching(die):
        train(tiny_experiment("gpt2", directory, *SAVED))


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [3, 7, 8])
def test_a_run_that_is_killed_between_two_lines_logs_what_the_whole_one_does(
    killed_at: int, tmp_path: Path
) -> None:
    train(tiny_experiment("gpt2", tmp_path / "whole", *SAVED))
    assert in_child(train_until, killed_at, tmp_path / "cut").code == KILLED
    train(tiny_experiment("gpt2", tmp_path / "cut", *SAVED))
    assert differences(*(tmp_path / name / "run" for name in ("whole", "cut"))) == []


@pytest.mark.slow
def test_sums_that_are_not_restored_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny_experiment("gpt2", tmp_path / "whole", *SAVED))
    assert in_child(train_until, 7, tmp_path / "cut").code == KILLED
    monkeypatch.setattr(Metrics, "restore", lambda self, *given: None)
    train(tiny_experiment("gpt2", tmp_path / "cut", *SAVED))
    found = differences(*(tmp_path / name / "run" for name in ("whole", "cut")))
    assert any(line.startswith("log, step 8: train/perplexity: ") for line in found)


def test_a_checkpoint_has_the_sums_since_the_last_line(tmp_path: Path) -> None:
    train(tiny_experiment("gpt2", tmp_path, *SAVED))
    states = [
        read_state(tmp_path / "run" / "checkpoints" / f"step-{step:08d}").train_metrics
        for step in (2, 4, 6)
    ]
    assert states[1] == []  # the line of step 4 was just written
    (two,), (six,) = states[0], states[2]
    assert two.keys() == six.keys() == {"perplexity", "accuracy"}
    assert two["accuracy"][1] == six["accuracy"][1] == 2 * 4 * 15  # targets of two steps


def test_a_run_without_metrics_of_training_has_no_sums(tmp_path: Path) -> None:
    train(tiny_experiment("gpt2", tmp_path, *EVERY_FOURTH))
    assert read_state(tmp_path / "run" / "checkpoints" / "step-00000008").train_metrics == []
