"""Progress: plain lines without a terminal, a bar on one."""

import io
import json
from math import inf
from pathlib import Path

from model_foundry.training.progress_bar import Display
from rich.console import Console

from model_foundry.training.metrics_log import MetricsLog, read_metrics

TRAINING = {
    "train/loss": 2.34567,
    "train/learning_rate": 1e-3,
    "train/grad_norm": 0.5,
    "train/tokens_per_second": 12345.6,
}
EVALUATION = {"eval/loss": 2.5, "eval/perplexity": 12.182, "eval/bits_per_byte": 1.2}


def shown(*, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, highlight=False)
    with Display(20, console=console) as display:
        display.advance(10)
        display.training(10, TRAINING)
        display.evaluation(10, EVALUATION)
    return stream.getvalue()


def test_off_a_terminal_each_report_is_one_plain_line() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines[0].startswith("step 10/20  loss 2.3457  lr 1.00e-03  |g| 0.50  12,346 tok/s  0:00")
    assert lines[1] == "step 10/20  eval loss 2.5000  perplexity 12.18  bits per byte 1.2000"
    assert len(lines) == 2


def test_metrics_of_training_and_losses_under_their_keys_are_on_the_lines() -> None:
    stream = io.StringIO()
    display = Display(20, console=Console(file=stream, width=200))
    metrics = {"train/word_accuracy": 0.25, "train/perplexity": 12.182}
    display.training(10, {**TRAINING, **metrics}, list(metrics))
    display.evaluation(10, {"eval/loss/z_loss": 1.5})
    first, second = stream.getvalue().splitlines()
    assert "|g| 0.50  train word accuracy 0.2500  train perplexity 12.18  12,346 tok/s" in first
    assert second.endswith("eval loss/z_loss 1.5000")


def test_a_large_figure_is_shown_with_a_power_of_ten() -> None:
    stream = io.StringIO()
    display = Display(20, console=Console(file=stream, width=200))
    display.training(10, {**TRAINING, "train/loss": 1e10, "train/grad_norm": -5.55e99})
    display.evaluation(10, {"eval/perplexity": 5.6123e43, "eval/loss": 9999999999.5, "eval/b": inf})
    first, second = stream.getvalue().splitlines()
    assert "loss 1.0e10  lr 1.00e-03  |g| -5.5e99  12,346 tok/s" in first
    assert second.endswith("eval perplexity 5.6e43  loss 9999999999.5000  b inf")


def test_on_a_terminal_a_bar_shows_step_loss_speed_and_time_left() -> None:
    text = shown(terminal=True)
    for part in ("10/20", "loss 2.3457", "12,346 tok/s", "eval loss 2.5000"):
        assert part in text
    assert "lr 1.00e-03" not in text


def test_log_holds_one_object_a_line(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", attempt=2)
    log.write(10, TRAINING)
    log.write(10, EVALUATION)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == read_metrics(log.path)
    assert read_metrics(log.path)[0]["train/loss"] == 2.34567  # in full, not as shown
    assert {"step": 10, "attempt": 2}.items() <= read_metrics(log.path)[1].items()
