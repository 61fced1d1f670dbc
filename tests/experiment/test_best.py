"""The best checkpoint by the metric that the experiment names, in its direction."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from model_foundry.errors import Interrupted
from model_foundry.experiment import attempt
from model_foundry.experiment.run_directory import BestEvaluated
from model_foundry.experiment.train import train
from model_foundry.training import step_batches
from model_foundry.training.checkpoint.choice import step_directories
from model_foundry.training.checkpoint.state_file import BestEvaluation, read_state
from tests.experiments import tiny_experiment

EACH_STEP = ("training.eval_steps=1", "training.save_steps=1", "training.save_total_limit=2")
BY_ACCURACY = (*EACH_STEP, "training.metrics=[loss, accuracy, bits_per_byte]")
ACCURACIES = [0.2, 0.9, math.nan, 0.5, 0.1, 0.3]
LOSSES = [5.0, 4.0, 3.5, 3.0, 3.2, math.nan]


@pytest.fixture(autouse=True)
def _given_figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have each evaluation give the figures of its step."""
    measured = attempt.Attempt._evaluate

    def evaluate(self: attempt.Attempt, model: Any, observing: Any) -> Any:
        step = self.context.state.step
        figures = {"loss": LOSSES[step - 1], "accuracy": ACCURACIES[step - 1], "tokens": 9}
        monkeypatch.setattr(attempt, "evaluate", lambda *given, **more: figures)
        return measured(self, model, observing)

    monkeypatch.setattr(attempt.Attempt, "_evaluate", evaluate)
    yield


def kept(directory: Path) -> tuple[list[int], BestEvaluation | None, int]:
    """Return the steps with a checkpoint, and the best of the last one with its age."""
    found = [read_state(path) for path in step_directories(directory / "run" / "checkpoints")]
    counters = found[-1].counters
    return [s.counters.step for s in found], counters.best, counters.evaluations_since_best


@pytest.mark.parametrize(
    ("settings", "metric", "value", "step", "since"),
    [
        # the checkpoint of a step precedes its evaluation, so the last one counts five
        ([*BY_ACCURACY, "training.metric_for_best_model=accuracy"], "accuracy", 0.9, 2, 3),
        ([*EACH_STEP, "training.metrics=[accuracy, loss]"], "accuracy", 0.9, 2, 3),
        ([*BY_ACCURACY], "loss", 3.0, 4, 1),
        ([*EACH_STEP], "loss", 3.0, 4, 1),
    ],
)
def test_the_best_is_kept_beside_the_newest(
    settings: list[str], metric: str, value: float, step: int, since: int, tmp_path: Path
) -> None:
    train(tiny_experiment("lstm", tmp_path, *settings))
    steps, best, age = kept(tmp_path)
    assert steps == [step, 6]
    assert best == BestEvaluation(metric=metric, value=value, step=step) and age == since


@pytest.mark.parametrize("losses", [LOSSES, [3.0, 2.0, 3.0, 3.0, 3.0, 1.0], [math.nan] * 6])
def test_result_and_status_name_the_best_of_all_evaluations(
    losses: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.LOSSES", losses)
    config = tiny_experiment("lstm", tmp_path, *EACH_STEP)
    best = train(config).best
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    value = min((loss for loss in losses if not math.isnan(loss)), default=None)
    if value is None:
        assert best is None and status["best"] is None
    else:
        step = losses.index(value) + 1
        kept = f"checkpoints/step-{step:08d}"
        assert best == BestEvaluated(metric="loss", value=value, step=step, checkpoint=kept)
        assert status["best"] == asdict(best) and (tmp_path / "run" / kept).is_dir()
    assert train(config).best == best  # of a run that was complete


def test_the_best_names_no_checkpoint_that_is_gone(tmp_path: Path) -> None:
    config = tiny_experiment("lstm", tmp_path, "training.eval_steps=1")
    best = train(config).best
    assert best == BestEvaluated(metric="loss", value=3.0, step=4, checkpoint=None)


@pytest.mark.parametrize("stopped_at", [2, 3, 5])
def test_a_resumed_run_has_the_best_of_the_whole_one(
    stopped_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*BY_ACCURACY, "training.metric_for_best_model=accuracy")
    asked = iter(range(99))
    with monkeypatch.context() as patch:
        patch.setattr(
            step_batches,
            "stop_requested",
            lambda: "SIGTERM" if next(asked) == stopped_at else None,
        )
        with pytest.raises(Interrupted):
            train(tiny_experiment("lstm", tmp_path, *settings))
    assert kept(tmp_path)[0][-1] == stopped_at
    train(tiny_experiment("lstm", tmp_path, *settings))
    assert kept(tmp_path) == ([2, 6], BestEvaluation(metric="accuracy", value=0.9, step=2), 3)
