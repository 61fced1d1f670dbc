"""Reporters: plain lines without a terminal, a panel on one, JSON, nothing."""

import io
import json
import re
from math import inf
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from model_foundry.run_reports import reporters
from model_foundry.run_reports.reporters import (
    HINT,
    JsonReporter,
    LineReporter,
    PanelReporter,
    reporter_for,
    silent,
)
from model_foundry.run_reports.run_files import RunFacts
from model_foundry.run_reports.run_view import RunView
from model_foundry.training.metrics_log import MetricsLog, read_metrics
from model_foundry.training.reporting import Reporter

FACTS = RunFacts(
    name="one", architecture="lstm", total_steps=20, parameters=1234, details=("tokens",)
)
TRAINING = {
    "train/loss": 2.34567,
    "train/learning_rate": 1e-3,
    "train/grad_norm": 0.5,
    "train/tokens_seen": 640,
    "train/tokens_per_second": 12345.6,
    "train/peak_memory_mib": 500.0,
    "train/batch_digest": "f00d",
}
EVALUATION = {
    "eval/loss": 2.5,
    "eval/perplexity": 12.182,
    "eval/bits_per_byte": 1.2,
    "eval/tokens": 99,
}


def view() -> RunView:
    view = RunView(FACTS)
    view.begin(0.0)
    return view


def line(step: int, values: dict[str, Any]) -> dict[str, Any]:
    return {"step": step, "attempt": 1, "time": step / 2, **values}


def lines_of(*records: dict[str, Any]) -> list[str]:
    stream = io.StringIO()
    with LineReporter(view(), Console(file=stream, width=40)) as reporter:
        for number, values in enumerate(records, 9):
            reporter.record(line(number, values))
    return stream.getvalue().splitlines()


def test_off_a_terminal_each_record_is_one_line_with_its_figures_below_each_other() -> None:
    first, second, third = lines_of(TRAINING, {**TRAINING, "train/loss": 12.0}, EVALUATION)
    assert first == (
        "step 9/20   loss  2.3457  lr 1.00e-03  |g|   0.50    12,346 tok/s  0:00:06 left"
    )
    assert second == (
        "step 10/20  loss 12.0000  lr 1.00e-03  |g|   0.50    12,346 tok/s  0:00:05 left"
    )
    assert third == "step 11/20  eval loss 2.5000  perplexity 12.18  bits per byte 1.2000"


def test_figures_under_names_that_nothing_knows_are_on_the_lines() -> None:
    metrics = {"train/word_accuracy": 0.25, "train/perplexity": 12.182}
    training, averaged, tested = lines_of(
        TRAINING | metrics, {"eval_ema/loss": 1.5}, {"test/loss/z_loss": 1.5}
    )
    assert "|g|   0.50  train word accuracy 0.2500  train perplexity 12.18 " in training
    assert averaged.endswith("eval_ema loss 1.5000")
    assert tested.endswith("test loss/z_loss 1.5000")


def test_a_large_figure_is_shown_with_a_power_of_ten() -> None:
    training, evaluation = lines_of(
        {**TRAINING, "train/loss": 1e10, "train/grad_norm": -5.55e99},
        {"eval/perplexity": 5.6123e43, "eval/loss": 9999999999.5, "eval/b": inf},
    )
    assert "loss  1.0e10  lr 1.00e-03  |g| -5.5e99" in training
    assert evaluation.endswith("eval loss 9999999999.5000  perplexity 5.6e43  b inf")


def test_text_that_the_tokenizer_does_not_know_is_noted() -> None:
    known, unknown = lines_of(
        *({**EVALUATION, "eval/unknown_share": share} for share in (0.01, 0.2))
    )
    assert "unknown" not in known and unknown.endswith("1.2000  (20.0% of the text unknown)")


def test_a_model_that_counts_has_lines_without_a_loss() -> None:
    [text] = lines_of({"train/words_per_second": 8.0, "train/words_seen": 5})
    assert text.split()[2:5] == ["8", "words/s", "0:00:06"]


def test_on_a_terminal_a_panel_is_drawn_and_left_whole() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    with PanelReporter(view(), console) as reporter:
        reporter.record(line(10, TRAINING))
        reporter.record(line(10, EVALUATION))
        reporter.saved(10)
        reporter.advance(11)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    last = text[text.rindex("╭") :]
    parts = ("step 11/20", "loss          2.3457", "12,346 tokens/s", "loss 2.5000", "step 10, ")
    for part in (*parts, "completed", "memory 524 MB"):
        assert part in last
    assert HINT in text and HINT not in last
    assert last.rstrip().endswith("╯")
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")


@pytest.mark.parametrize(
    ("terminal", "term", "kind"),
    [
        (True, "xterm", PanelReporter),
        (True, "dumb", LineReporter),
        (False, "xterm", LineReporter),
    ],
)
def test_a_file_or_a_terminal_without_a_cursor_gets_lines(
    terminal: bool, term: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(reporters.sys, "stderr", stream)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    reporter = reporter_for(view())
    assert type(reporter) is kind
    if kind is LineReporter:
        reporter.record(line(10, TRAINING))
        assert "\x1b" not in stream.getvalue() and "loss" in stream.getvalue()


def test_json_has_one_object_a_record_as_the_log_has_it() -> None:
    stream = io.StringIO()
    with JsonReporter(stream) as reporter:
        reporter.advance(9)
        reporter.record(line(10, {**TRAINING, "train/loss": inf}))
        reporter.record(line(10, EVALUATION))
        reporter.record(line(10, {"eval_ema/loss": 2.0}))
        reporter.saved(10)
    records = [json.loads(text) for text in stream.getvalue().splitlines()]
    events = ["log", "evaluation", "evaluation", "checkpoint"]
    assert [record["event"] for record in records] == events
    assert records[0]["train/loss"] is None and records[0]["train/batch_digest"] == "f00d"
    assert records[1].items() >= line(10, EVALUATION).items()
    assert records[3]["step"] == 10


def test_a_silent_reporter_and_a_process_without_streams_show_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for reporter in (silent(view()), Reporter()):
        with reporter:
            reporter.record(line(10, TRAINING))
            reporter.saved(10)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(reporters.sys, "stderr", None)
    assert type(reporter_for(view())) is Reporter


def test_the_log_reports_its_lines_and_those_it_keeps(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", attempt=2)
    log.write(10, TRAINING)
    log.write(10, EVALUATION)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == read_metrics(log.path)
    assert read_metrics(log.path)[0]["train/loss"] == 2.34567  # in full, not as shown
    assert {"step": 10, "attempt": 2}.items() <= read_metrics(log.path)[1].items()
    again = MetricsLog(log.path, attempt=3)
    again.reporter = reporter = LineReporter(view(), Console(quiet=True))
    again.rewind(10)
    assert reporter.view.step == 10 and reporter.view.train["loss"] == 2.34567
    assert reporter.view.evaluations == {}  # it is made again
    again.write(10, EVALUATION)
    assert reporter.view.evaluations["eval"].values["loss"] == 2.5
