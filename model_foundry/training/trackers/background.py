"""A tracker in a thread of its own: training hands over what it measures, and never waits."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from model_foundry.foundation.plugins import describe_error
from model_foundry.training.histograms import PendingHistograms
from model_foundry.training.sinks import Line, Sink, Values
from model_foundry.training.trackers.base import Tracker
from model_foundry.training.trackers.record import TrackerRecord

logger = logging.getLogger(__name__)

MOST_WAITING: Final = 1_000  # calls that a tracker may be behind
CLOSING_SECONDS: Final = 30.0
ELSEWHERE: Final = "metrics.jsonl has all figures"
Call = Callable[[Tracker], None]


class Background(Sink):
    """Calls a tracker in a thread.

    One that fails or is too slow is reported once. The record has the step of the last checkpoint
    up to which the tracker has everything, so that the next attempt repeats what it may lack.

    Args:
        make: makes the tracker, in the thread; that may take long, or fail.
        record: keeps the step.
        keeps: what no log can give it again: `histograms`, `texts`.
        takes_lines: it takes lines of the log; otherwise nothing is repeated to it.
        leave: called if it has not finished when it is left, as `Tracker.leave`.
        most_waiting: calls that may wait; more are left out.
        closing_seconds: the time that `close` gives it for what waits.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Tracker],
        record: TrackerRecord,
        *,
        keeps: Sequence[str] = (),
        takes_lines: bool = True,
        leave: Callable[[], None] = lambda: None,
        most_waiting: int = MOST_WAITING,
        closing_seconds: float = CLOSING_SECONDS,
    ) -> None:
        self.name, self._make, self._record = name, make, record
        self._keeps, self._takes_lines = keeps, takes_lines
        self._waiting: queue.Queue[Call | None] = queue.Queue(most_waiting)
        self._leave, self._closing_seconds = leave, closing_seconds
        self._thread: threading.Thread | None = None
        self._failed = threading.Event()
        self._lost = False
        self._from = 0

    def rewind(self, step: int) -> None:
        """Start the thread, with the tracker as it was at the last checkpoint that it has whole."""
        whole = self._record.get("step")
        if self._takes_lines:
            self._from = min(step, whole) if isinstance(whole, int) else 0
        else:
            self._from = step
        if self._keeps and isinstance(whole, int) and self._from < step:
            lost = " and ".join(self._keeps)
            self._warn(f"lacks the {lost} of steps {self._from} to {step}, being behind")
        self._thread = threading.Thread(target=self._work, name=f"tracker {self.name}", daemon=True)
        self._thread.start()
        self._hand_over(lambda tracker: tracker.rewind(self._from))

    def replay(self, lines: Sequence[Line]) -> None:
        missing = [line for line in lines if line.step >= self._from]
        if missing and self._takes_lines:
            self._hand_over(lambda tracker: tracker.replay(missing))
        self._hand_over(lambda tracker: self._record.keep(step=self._from))

    def write(self, step: int, values: Values) -> None:
        self.log(Line(step, time.time(), values))

    def log(self, line: Line) -> None:
        self._hand_over(lambda tracker: tracker.log(line))

    def histograms(self, step: int, pending: PendingHistograms) -> None:
        self._hand_over(lambda tracker: tracker.histograms(step, pending))

    def texts(self, step: int, texts: Mapping[str, str]) -> None:
        self._hand_over(lambda tracker: tracker.texts(step, texts))

    def flush(self, step: int) -> None:
        whole = not self._lost
        self._hand_over(lambda tracker: self._flush(tracker, step, whole=whole))

    def _flush(self, tracker: Tracker, step: int, *, whole: bool) -> None:
        tracker.flush(step)
        if whole:
            self._record.keep(step=step)

    def close(self) -> None:
        """Give the tracker some time for what waits, and leave it to itself then."""
        if self._thread is None:
            return
        deadline = time.monotonic() + self._closing_seconds
        try:
            self._waiting.put(None, timeout=self._closing_seconds)
            self._thread.join(max(0.0, deadline - time.monotonic()))
        except queue.Full:
            pass
        if self._thread.is_alive() and not self._failed.is_set():
            self._failed.set()
            self._warn(f"has not finished within {self._closing_seconds:g} seconds; it is left")
        if self._thread.is_alive():
            self._leave()

    def _hand_over(self, call: Call) -> None:
        if self._thread is None or self._failed.is_set():
            return
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            if not self._lost:
                self._lost = True
                self._warn("is slower than the training; it lacks some of its figures")

    def _work(self) -> None:
        try:
            tracker = self._make()
        except (Exception, SystemExit) as error:
            self._fail("start", error)
            return
        try:
            while (call := self._waiting.get()) is not None and not self._failed.is_set():
                call(tracker)
        except (Exception, SystemExit) as error:
            self._fail("writing", error)
        try:
            tracker.close()
        except (Exception, SystemExit) as error:
            self._fail("closing", error)

    def _fail(self, doing: str, error: BaseException) -> None:
        if not self._failed.is_set():
            self._failed.set()
            self._warn(f"{doing} failed ({describe_error(error)}); the run goes on without it")
        while not self._waiting.empty():  # frees what waits, and a `close` that waits for room
            self._waiting.get_nowait()

    def _warn(self, what: str) -> None:
        logger.warning("tracker %s: %s; %s", self.name, what, ELSEWHERE)
