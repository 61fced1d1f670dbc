"""Trackio: a local database, which `trackio show` draws and `trackio sync` uploads."""

import math
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from model_foundry.training.histograms import PendingHistograms
from model_foundry.training.sinks import Line, Values
from model_foundry.training.trackers.base import TrackedRun, Tracker, figures_of


class TrackioTracker(Tracker):
    """Writes to trackio's database, at once.

    `trackio.init` would print to the terminal and write later, in a thread of its own. What comes
    again is deleted from the database first.
    """

    def __init__(self, section: Any, run: TrackedRun) -> None:
        from trackio import Histogram, Markdown
        from trackio.sqlite_storage import SQLiteStorage

        super().__init__(section, run)
        self._storage, self._histogram, self._markdown = SQLiteStorage, Histogram, Markdown
        self._project = section.project or "model-foundry"
        self._name = section.name or run.name
        SQLiteStorage.validate_project_name(self._project)
        SQLiteStorage.init_db(self._project)
        self._id = run.record.get("run_id")
        self._config: dict[str, Any] | None = None
        if self._id is None:
            self._id = f"{self._name}-{time.time_ns()}"
            self._config = {
                **{name: _plain(value) for name, value in run.settings.items()},
                "_Username": None,
                "_Created": datetime.now(UTC).isoformat(),
                "_Group": section.group,
            }
            run.record.keep(run_id=self._id)

    def rewind(self, step: int) -> None:
        path = self._storage.get_project_db_path(self._project)
        with closing(sqlite3.connect(path, timeout=10)) as database, database:
            database.execute("DELETE FROM metrics WHERE run_id = ? AND step >= ?", (self._id, step))

    def write(self, step: int, values: Values) -> None:
        self.log(Line(step, time.time(), values))

    def log(self, line: Line) -> None:
        self._store(line.step, line.time, figures_of(line.values))

    def histograms(self, step: int, pending: PendingHistograms) -> None:
        drawn = {
            name: self._histogram(np_histogram=(each.counts, each.edges))._to_dict()
            for name, each in pending.counted().items()
        }
        self._store(step, time.time(), drawn)

    def texts(self, step: int, texts: Mapping[str, str]) -> None:
        written = {name: self._markdown(text)._to_dict() for name, text in texts.items()}
        self._store(step, time.time(), written)

    def _store(self, step: int, seconds: float, values: dict[str, Any]) -> None:
        self._storage.bulk_log(
            project=self._project,
            run=self._name,
            run_id=self._id,
            metrics_list=[values],
            steps=[step],
            timestamps=[datetime.fromtimestamp(seconds, UTC).isoformat()],
            config=self._config,
        )
        self._config = None  # once


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
