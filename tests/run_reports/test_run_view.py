"""A run as it is shown, built from lines of its log."""

from math import isnan, nan

import pytest

from model_foundry.run_reports import run_view
from model_foundry.run_reports.run_files import RunFacts
from model_foundry.run_reports.run_view import RunView, grouped
from tests.written_runs import BEGUN, log_lines

FACTS = RunFacts(name="one", architecture="lstm", total_steps=100)


def view_of(*lines: dict[str, object], facts: RunFacts = FACTS) -> RunView:
    view = RunView(facts)
    view.begin(BEGUN)
    for line in lines:
        view.add(line)
    return view


def test_the_figures_of_a_line_are_grouped_and_null_is_not_finite() -> None:
    groups = grouped({"step": 1, "train/loss": None, "train/digest": "f", "eval/loss/z_loss": 2})
    assert groups.keys() == {"train", "eval"} and isnan(groups["train"]["loss"])
    assert groups["eval"] == {"loss/z_loss": 2.0} and "digest" not in groups["train"]


def test_a_view_holds_the_last_figures_and_those_before() -> None:
    view = view_of(*log_lines())
    assert view.step == 40 and view.train["tokens_seen"] == 40 * 64
    assert view.speed() == (1234.5, "tokens")
    evaluation = view.evaluations["eval"]
    assert evaluation.step == 40 and evaluation.values["loss"] < evaluation.before["loss"]
    assert view.best == (evaluation.values["loss"], 40)
    assert len(view.losses) == 8


def test_the_time_left_follows_from_the_recent_speed() -> None:
    view = view_of(*log_lines())
    assert view.seconds_left() == pytest.approx(60)  # a second a step
    view.state = "killed"
    assert view.seconds_left() is None
    assert view_of().seconds_left() is None
    of_another_attempt = view_of(*log_lines(attempt=2))
    assert of_another_attempt.seconds_left() is None


def test_the_smoothed_loss_is_the_mean_of_the_last_quarter_of_finite_ones() -> None:
    view = view_of()
    for step, loss in enumerate((9.0, None, 8.0, 7.0, 3.0), 1):
        view.add({"step": step, "train/loss": loss})
        assert view.smoothed == (loss or 9.0)
    assert isnan(view.losses[1])
    for step, loss in enumerate((5.0, 6.0, 2.0, 1.0), 6):
        view.add({"step": step, "train/loss": loss})
    assert view.smoothed == 1.5  # of eight lines two
    for step in range(10, 200):
        view.add({"step": step, "train/loss": float(step)})
    assert view.smoothed == sum(range(180, 200)) / 20


def test_a_long_curve_is_averaged_and_keeps_its_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_view, "KEPT_LOSSES", 8)
    view = view_of(*({"step": n, "train/loss": float(n)} for n in range(1000)))
    assert 4 <= len(view.losses) < 8
    assert view.losses == sorted(view.losses) and view.losses[0] < 100


@pytest.mark.parametrize(("greater", "best"), [(False, (1.0, 2)), (True, (3.0, 3))])
def test_the_best_is_by_the_metric_that_decides(greater: bool, best: tuple[float, int]) -> None:
    facts = RunFacts(
        name="one",
        architecture="lstm",
        total_steps=9,
        best_metric="accuracy",
        greater_is_better=greater,
    )
    values = (2.0, 1.0, 3.0, nan, None, "odd")
    lines = [{"step": n, "eval/accuracy": v} for n, v in enumerate(values, 1)]
    assert view_of(*lines, facts=facts).best == best


def test_other_evaluations_are_kept_apart() -> None:
    view = view_of({"step": 1, "eval_ema/loss": 2.0}, {"step": 2, "test/loss": 3.0})
    assert {kind: each.step for kind, each in view.evaluations.items()} == {
        "eval_ema": 1,
        "test": 2,
    }
    assert view.best is None


def test_figures_that_no_one_reads_line_by_line_are_left_out():
    line = {"step": 4, "eval/loss": 2.0, "best/loss": 1.5, "best/step": 2, "activations/0/mean": 0}
    assert grouped(line) == {"eval": {"loss": 2.0}}
