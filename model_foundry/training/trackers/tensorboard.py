"""TensorBoard: event files in the run directory."""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from model_foundry.training.histograms import PendingHistograms
from model_foundry.training.sinks import Line, Values
from model_foundry.training.trackers.base import TrackedRun, Tracker, figures_of


class TensorBoardTracker(Tracker):
    """Writes event files, for `tensorboard --logdir runs`.

    Each line is flushed when it is written. `SummaryWriter` would write in a thread of its own,
    whose failure prints a traceback.
    """

    def __init__(self, section: Any, run: TrackedRun) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        super().__init__(section, run)
        self._event, self._summary = Event, cast(Any, summary)  # without annotations
        directory = Path(section.directory or run.directory / "tensorboard")
        directory.mkdir(parents=True, exist_ok=True)
        self._continues = any(directory.glob("events.out.tfevents.*"))
        # readers take the files in the order of their names, so the time comes first
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}.0"
        self._file = (directory / name).open("wb")
        self._records = RecordWriter(self._file)
        self._write(0, file_version="brain.Event:2")

    def rewind(self, step: int) -> None:
        if self._continues:  # readers leave out what they have read of this step and later ones
            from tensorboard.compat.proto.event_pb2 import SessionLog

            self._write(step, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, values: Values) -> None:
        self.log(Line(step, time.time(), values))

    def log(self, line: Line) -> None:
        for name, value in figures_of(line.values).items():
            summary = self._summary.scalar(name, value)
            self._write(line.step, summary=summary, wall_time=line.time)
        self._file.flush()

    def histograms(self, step: int, pending: PendingHistograms) -> None:
        for name, each in pending.counted().items():
            raw = self._summary.histogram_raw(
                *(name, each.edges[0], each.edges[-1], each.number, each.sum),
                *(each.sum_of_squares, each.edges[1:], each.counts),
            )
            self._write(step, summary=raw)
        self._file.flush()

    def texts(self, step: int, texts: Mapping[str, str]) -> None:
        for name, text in texts.items():
            self._write(step, summary=self._summary.text(name, text))
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _write(self, step: int, *, wall_time: float | None = None, **content: Any) -> None:
        event = self._event(step=step, wall_time=wall_time or time.time(), **content)
        self._records.write(event.SerializeToString())
