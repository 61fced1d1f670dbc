"""The log of a run: each step once, and each line whole or not at all."""

import json
import os
from pathlib import Path

import pytest

from model_foundry.errors import SaveError
from model_foundry.training import metrics_log
from model_foundry.training.metrics_log import MetricsLog, read_metrics


@pytest.fixture
def log(tmp_path: Path) -> MetricsLog:
    return MetricsLog(tmp_path / "metrics.jsonl")


def write_run(log: MetricsLog, first: int, last: int, *, save: int = 4, evaluate: int = 3) -> int:
    """Log the steps from `first` to `last` as a run does; return the step of the last save."""
    saved = first - 1
    for step in range(first, last + 1):
        log.write(step, {"train/loss": 1 / step})
        if step % save == 0:
            saved = step
        if step % evaluate == 0:
            log.write(step, {"eval/loss": 2 / step, "eval/bits_per_byte": 1.0})
    return saved


def logged(log: MetricsLog) -> list[tuple[int, str]]:
    return [
        (line["step"], "eval" if "eval/loss" in line else "train")
        for line in read_metrics(log.path)
    ]


def test_a_line_has_its_step_attempt_and_time(log: MetricsLog) -> None:
    MetricsLog(log.path, attempt=3).write(7, {"train/loss": 0.1, "train/batch_digest": "ab"})
    (line,) = read_metrics(log.path)
    assert line.pop("time") > 1e9
    assert line == {"step": 7, "attempt": 3, "train/loss": 0.1, "train/batch_digest": "ab"}


@pytest.mark.parametrize("value", [0.1, 1e-300, 2 / 3, 1e22, -0.0, 123456789.123456789])
def test_a_number_reads_back_to_the_last_bit(log: MetricsLog, value: float) -> None:
    log.write(1, {"train/loss": value})
    (line,) = read_metrics(log.path)
    assert line["train/loss"].hex() == value.hex()


@pytest.mark.parametrize("died", range(13))
def test_each_step_is_logged_once_wherever_a_run_died(log: MetricsLog, died: int) -> None:
    """And in the order of an uninterrupted run."""
    whole = MetricsLog(log.path.with_name("whole.jsonl"))
    write_run(whole, 1, 12)
    saved = write_run(log, 1, died)
    log.rewind(saved)
    assert all(step <= saved for step, _ in logged(log)) if log.path.exists() else died == 0
    again = MetricsLog(log.path, attempt=2)
    if saved and saved % 3 == 0:  # a checkpoint precedes the evaluation of its step
        again.write(saved, {"eval/loss": 2 / saved})
    write_run(again, saved + 1, 12)
    assert logged(log) == logged(whole)
    attempts = [line["attempt"] for line in read_metrics(log.path)]
    assert attempts == sorted(attempts)


def test_the_evaluation_of_the_step_of_a_checkpoint_is_made_again(log: MetricsLog) -> None:
    write_run(log, 1, 6, save=6)
    log.rewind(6)
    assert logged(log)[-2:] == [(5, "train"), (6, "train")]
    assert (3, "eval") in logged(log)


def test_a_run_without_a_checkpoint_begins_an_empty_log(log: MetricsLog) -> None:
    log.rewind(0)
    assert not log.path.exists()
    write_run(log, 1, 3)
    log.rewind(0)
    assert log.path.read_bytes() == b""


def test_what_is_kept_is_kept_as_it_was_written(log: MetricsLog) -> None:
    write_run(log, 1, 6)
    before = log.path.read_bytes().splitlines()
    log.rewind(4)
    kept = [line for line in before if json.loads(line)["step"] <= 4]
    assert log.path.read_bytes().splitlines() == kept  # no evaluation is at step 4


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_last_line_that_was_cut_counts_for_nothing(log: MetricsLog, cut: int) -> None:
    write_run(log, 1, 4)
    raw = log.path.read_bytes()
    log.path.write_bytes(raw[:-cut])
    assert logged(log) == [(1, "train"), (2, "train"), (3, "train"), (3, "eval")]
    log.rewind(4)
    write_run(log, 5, 5)
    assert logged(log)[-2:] == [(3, "eval"), (5, "train")]


@pytest.mark.parametrize(
    "line",
    [b"{", b"[1]", b"7", b"\xff\xfe", b"{}", b'{"step": null}', b'{"step": "x"}', b"", b"\0"],
)
def test_a_damaged_line_is_named_and_left_out(
    log: MetricsLog, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(log, 1, 4)
    first, *others = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join([first, line, b"\n", *others]))
    assert logged(log) == [(1, "train"), (2, "train"), (3, "train"), (3, "eval"), (4, "train")]
    assert "metrics.jsonl: line 2 is damaged and left out" in caplog.text
    log.rewind(2)
    assert logged(log) == [(1, "train"), (2, "train")]


def test_a_log_can_be_put_on_the_disk_and_need_not_be_there(
    log: MetricsLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    log.flush(1)
    assert synced == []
    log.write(1, {})
    log.flush(1)
    assert len(synced) == 1


def test_a_log_that_cannot_be_written_is_an_error_of_storage(log: MetricsLog) -> None:
    log.path.mkdir()
    with pytest.raises(SaveError, match=r"metrics\.jsonl: cannot be written \(Is a directory\)"):
        log.write(1, {})


def test_rewinding_that_fails_leaves_the_log_as_it_was(
    log: MetricsLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SaveError("no room")

    write_run(log, 1, 6)
    before = log.path.read_bytes()
    monkeypatch.setattr(metrics_log, "write_text", full)
    with pytest.raises(SaveError):
        log.rewind(2)
    assert log.path.read_bytes() == before
