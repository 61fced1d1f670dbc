"""Curves of runs over steps, counts and hours, and the names of runs."""

from math import isnan
from pathlib import Path
from typing import Any

import pytest

from model_foundry.errors import ConfigError
from model_foundry.run_reports.curves import Curve, curve_of, metric_names, require_metrics
from model_foundry.run_reports.run_names import names_of_runs
from model_foundry.run_reports.run_report import RunReader, RunReport
from tests.written_runs import log_lines, write_run


def report(directory: Path, **facts: Any) -> RunReport:
    return RunReader(write_run(directory, **facts)).read(0.0)[0]


def test_a_curve_has_a_point_a_line_and_its_best(tmp_path: Path) -> None:
    run = report(tmp_path / "one")
    assert list(curve_of(run, "train/loss").x) == [5, 10, 15, 20, 25, 30, 35, 40]
    curve = curve_of(run, "eval/loss")
    assert list(curve.x) == [10, 20, 30, 40] and curve.best == 3
    assert curve_of(run, "train/loss").best is None


def test_null_is_a_gap(tmp_path: Path) -> None:
    lines = log_lines()
    lines[0]["train/loss"] = None
    curve = curve_of(report(tmp_path / "one", lines=lines), "train/loss")
    assert isnan(curve.y[0]) and not isnan(curve.y[1])
    assert isnan(curve.smoothed(3)[0])
    assert curve.smoothed(3)[1] == pytest.approx((curve.y[1] + curve.y[2]) / 2)


def test_evaluations_lie_at_the_counts_of_their_steps(tmp_path: Path) -> None:
    lines = [line for line in log_lines() if line["step"] != 20 or "eval/loss" in line]
    run = report(tmp_path / "one", lines=lines)
    assert list(curve_of(run, "eval/loss", "tokens").x) == [640, 1280, 1920, 2560]
    assert list(curve_of(run, "train/loss", "words").x)[:2] == [240, 480]
    with pytest.raises(ConfigError, match="has not counted it; it has step, hours, tokens, words"):
        curve_of(run, "eval/loss", "images")


def test_hours_leave_out_the_pause_between_two_attempts(tmp_path: Path) -> None:
    lines = log_lines(20) + log_lines(40, attempt=2, after=20)
    run = report(
        tmp_path / "one", lines=lines, attempts=((0, 0, 25.0), (118, 20, None)), state="completed"
    )
    curve = curve_of(run, "train/loss", "hours")
    assert [round(3600 * x) for x in curve.x] == [5, 10, 15, 20, 32, 37, 42, 47]
    assert [round(3600 * x) for x in curve.attempts] == [25]
    assert list(curve_of(run, "train/loss").attempts) == [20]


def test_smoothing_leaves_a_constant_as_it_is() -> None:
    curve = Curve(x=[1, 2, 3], y=[2.0, 2.0, 2.0])
    assert curve.smoothed(1) is curve.y
    assert list(curve.smoothed(5)) == pytest.approx([2.0, 2.0, 2.0])


def test_an_unknown_metric_is_named_with_the_nearest(tmp_path: Path) -> None:
    runs = [report(tmp_path / "one")]
    assert metric_names(runs)[:2] == ["train/loss", "train/learning_rate"]
    assert "train/batch_digest" not in metric_names(runs)
    with pytest.raises(ConfigError, match=r"'eval/los': no run has logged it; did you mean 'eval/"):
        require_metrics(runs, ["eval/los"])


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ([{"model.architecture": "lstm"}, {"model.architecture": "gru"}], ["lstm", "gru"]),
        (
            [{"a.learning_rate": 1, "x": 1}, {"a.learning_rate": 2, "x": 1}],
            ["learning rate 1", "learning rate 2"],
        ),
        ([{"output_dir": "1"}, {"output_dir": "2"}], ["b/one", "c/one"]),
        ([{str(n): 0 for n in range(9)}, {str(n): 1 for n in range(9)}], ["b/one", "c/one"]),
        (
            [
                {"model.architecture": "lstm", **{f"model.rnn.{n}": 0 for n in range(9)}},
                {"model.architecture": "gru", **{f"model.rnn.{n}": 1 for n in range(9)}},
            ],
            ["lstm", "gru"],
        ),
        (
            [
                {"training.learning_rate": 1, **{f"training.{n}": 0 for n in range(4)}},
                {"training.learning_rate": 2, **{f"training.{n}": 1 for n in range(4)}},
            ],
            ["b/one", "c/one"],  # the rate alone would hide the others
        ),
    ],
)
def test_runs_are_named_by_what_differs(settings: list[dict[str, Any]], names: list[str]) -> None:
    assert names_of_runs(settings, ["/a/b/one", "/a/c/one"]) == names
    assert names_of_runs(settings[:1], ["/a/b/one"]) == ["one"]
