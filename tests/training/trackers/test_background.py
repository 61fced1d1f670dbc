"""A tracker in the background never stops or delays the training, and lacks nothing in the end."""

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from model_foundry.training.sinks import Line
from model_foundry.training.trackers.background import Background
from model_foundry.training.trackers.base import Tracker
from model_foundry.training.trackers.record import TrackerRecords


class Kept(Tracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def write(self, step: int, values: Mapping[str, float | str]) -> None:
        self.told.append((step, values))

    def rewind(self, step: int) -> None:
        self.told.append(("rewind", step))

    def flush(self, step: int) -> None:
        self.told.append(("flush", step))

    def close(self) -> None:
        self.told.append("close")


def lines(*steps: int) -> list[Line]:
    return [Line(step, float(step), {"train/loss": float(step)}) for step in steps]


def attempt(place: Path, tracker: Tracker, **options: Any) -> Background:
    record = TrackerRecords(place / "trackers.json").of("kept")
    return Background("kept", lambda: tracker, record, **options)


def whole_step(place: Path) -> Any:
    return json.loads((place / "trackers.json").read_text())["kept"].get("step")


def test_a_tracker_is_told_everything_in_order(tmp_path: Path) -> None:
    tracker = Kept()
    background = attempt(tmp_path, tracker)
    background.rewind(0)
    background.replay([])
    for line in lines(1, 2):
        background.log(line)
    background.flush(2)
    background.close()
    losses = [(1, {"train/loss": 1.0}), (2, {"train/loss": 2.0})]
    assert tracker.told == [("rewind", 0), *losses, ("flush", 2), "close"]
    assert whole_step(tmp_path) == 2


@pytest.mark.parametrize(
    ("whole", "resumed_at", "since"),
    [(4, 4, 4), (4, 2, 2), (2, 4, 2), (None, 4, 0)],
)
def test_the_next_attempt_repeats_what_may_be_missing(
    whole: int | None, resumed_at: int, since: int, tmp_path: Path
) -> None:
    if whole is not None:
        TrackerRecords(tmp_path / "trackers.json").of("kept").keep(step=whole)
    tracker = Kept()
    background = attempt(tmp_path, tracker)
    background.rewind(resumed_at)
    background.replay(lines(1, 2, 3, 4)[:resumed_at])
    background.close()
    repeated = [step for step in range(1, resumed_at + 1) if step >= since]
    told = [("rewind", since), *((step, {"train/loss": float(step)}) for step in repeated)]
    assert tracker.told == [*told, "close"]
    assert whole_step(tmp_path) == since


@pytest.mark.parametrize(("whole", "lost"), [(2, True), (4, False), (None, False)])
def test_lost_histograms_and_texts_are_named(
    whole: int | None, lost: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if whole is not None:
        TrackerRecords(tmp_path / "trackers.json").of("kept").keep(step=whole)
    background = attempt(tmp_path, Kept(), keeps=("histograms", "texts"))
    background.rewind(4)
    background.replay(lines(1, 2, 3, 4))
    background.close()
    warning = (
        "tracker kept: lacks the histograms and texts of steps 2 to 4, being behind; "
        "metrics.jsonl has all figures"
    )
    assert caplog.messages == ([warning] if lost else [])


def test_a_tracker_without_lines_forgets_only_what_comes_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    TrackerRecords(tmp_path / "trackers.json").of("kept").keep(step=2)
    tracker = Kept()
    background = attempt(tmp_path, tracker, takes_lines=False)
    background.rewind(4)
    background.replay(lines(1, 2, 3, 4))
    background.close()
    assert tracker.told == [("rewind", 4), "close"]
    assert whole_step(tmp_path) == 4
    assert not caplog.messages


@pytest.mark.parametrize("method", ["write", "rewind", "flush", "close"])
def test_a_tracker_that_fails_is_reported_once(
    method: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker, calls = Kept(), []

    def fail(*_: object) -> None:
        calls.append(method)
        raise OSError("no route to host")

    setattr(tracker, method, fail)
    background = attempt(tmp_path, tracker)
    background.rewind(0)
    for step in (1, 2, 3):
        background.log(lines(step)[0])
        background.flush(step)
    background.close()
    assert calls == [method]
    (warning,) = caplog.messages
    assert warning.startswith("tracker kept: ") and "no route to host" in warning
    assert "metrics.jsonl has all figures" in warning
    if method != "close":
        assert tracker.told[-1] == "close"


def test_a_tracker_that_cannot_start_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> Tracker:
        raise SystemExit("no key")

    record = TrackerRecords(tmp_path / "trackers.json").of("kept")
    background = Background("kept", refuse, record)
    background.rewind(0)
    background.log(lines(1)[0])
    background.close()
    (warning,) = caplog.messages
    assert warning.startswith("tracker kept: start failed (SystemExit: no key)")


def test_a_tracker_that_blocks_delays_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker, free, told = Kept(), threading.Event(), list[int]()
    tracker.rewind = lambda step: free.wait(60)  # type: ignore[assignment,method-assign]
    background = attempt(
        tmp_path, tracker, most_waiting=3, closing_seconds=0.2, leave=lambda: told.append(1)
    )
    begun = time.monotonic()
    background.rewind(0)
    for line in lines(*range(1, 20)):
        background.log(line)
    background.close()
    assert time.monotonic() - begun < 5
    slow, left = caplog.messages
    assert "is slower than the training" in slow
    assert "has not finished within 0.2 seconds; it is left" in left
    assert told == [1]
    free.set()


def test_a_checkpoint_after_lost_lines_is_not_whole(tmp_path: Path) -> None:
    tracker, free = Kept(), threading.Event()
    keep = tracker.write

    def wait(step: int, values: Mapping[str, float | str]) -> None:
        free.wait(60)
        keep(step, values)

    tracker.write = wait  # type: ignore[method-assign]
    background = attempt(tmp_path, tracker, most_waiting=4)
    background.rewind(0)
    background.replay([])
    for line in lines(*range(1, 20)):
        background.log(line)
    free.set()
    while background._waiting.qsize() > 1:
        time.sleep(0.01)
    background.flush(19)
    background.close()
    assert ("flush", 19) in tracker.told
    assert whole_step(tmp_path) == 0


def test_what_was_never_started_is_closed_at_once(tmp_path: Path) -> None:
    tracker = Kept()
    attempt(tmp_path, tracker).close()
    assert tracker.told == []


def test_a_record_survives_a_damaged_file(tmp_path: Path) -> None:
    records = TrackerRecords(tmp_path / "trackers.json")
    records.path.write_text("{", encoding="utf-8")
    record = records.of("one")
    assert record.get("run_id") is None
    record.keep(run_id="a")
    records.of("other").keep(step=3)
    record.keep(step=4)
    found = json.loads(records.path.read_text(encoding="utf-8"))
    assert found == {"one": {"run_id": "a", "step": 4}, "other": {"step": 3}}
