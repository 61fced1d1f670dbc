"""The report on one run, from its directory: its view, attempts, checkpoints and final figures."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from model_foundry.foundation.atomic_files import is_committed
from model_foundry.run_reports.log_tail import LogTail
from model_foundry.run_reports.plain_settings import settings_of
from model_foundry.run_reports.run_files import AttemptRecord, RunFacts, RunFiles, RunStatus
from model_foundry.run_reports.run_state import present_state
from model_foundry.run_reports.run_view import RunView

ALIVE = ("running", "starting")


@dataclass(frozen=True, kw_only=True)
class AttemptReport:
    """One attempt at a run."""

    number: int
    started: str
    """Time in UTC."""
    first_step: int
    """Step from which it resumed."""
    last_step: int
    """Last step of it in the log; later attempts may have made it again."""
    seconds: float
    """Length, up to its last line in the log; up to now if it runs."""


@dataclass(frozen=True, kw_only=True)
class CheckpointReport:
    """One whole checkpoint."""

    step: int
    path: Path
    bytes: int
    resumes: bool
    """False: it holds the model only."""


@dataclass(kw_only=True)
class RunReport:
    """A run as its directory shows it."""

    files: RunFiles
    status: RunStatus | None
    view: RunView
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Lines of its log."""

    @property
    def is_alive(self) -> bool:
        """True if a process works on the run."""
        return self.view.state in ALIVE

    def attempts(self, now: float) -> list[AttemptReport]:
        """Return the attempts that are known.

        Args:
            now: seconds since the epoch.
        """
        if self.status is None:
            return []
        records = self.status.attempts
        stops = [*(record.step for record in records[1:]), self.view.step]
        first = self.view.attempt - len(records) + 1
        return [
            self._attempt(number, record, stop, now)
            for number, record, stop in zip(count(first), records, stops, strict=False)
        ]

    def _attempt(self, number: int, record: AttemptRecord, stop: int, now: float) -> AttemptReport:
        own = [line for line in self.lines if line.get("attempt") == number]
        begun = seconds_of(record.started)
        ends = [line["time"] for line in own if isinstance(line.get("time"), int | float)]
        if record.ended is not None:
            ends.append(seconds_of(record.ended))
        elif self.is_alive:
            ends.append(now)
        elif self.status is not None:
            ends.append(seconds_of(self.status.time))
        return AttemptReport(
            number=number,
            started=record.started,
            first_step=record.step,
            last_step=max([record.step, stop, *(line["step"] for line in own)]),
            seconds=max(0.0, max(ends, default=begun) - begun),
        )

    def checkpoints(self) -> list[CheckpointReport]:
        """Return the whole checkpoints, by step; their contents are not read."""
        return [
            CheckpointReport(
                step=int(path.name.removeprefix("step-")),
                path=path,
                bytes=sum(file.stat().st_size for file in path.iterdir() if file.is_file()),
                resumes=(path / "random_states.safetensors").exists(),
            )
            for path in sorted(self.files.checkpoints.glob("step-*[0-9]"))
            if is_committed(path)
        ]

    def final_figures(self) -> dict[str, Any]:
        """Return the figures of the final model; none before the run is complete."""
        if self.status is None or self.view.state != "completed":
            return {}
        return self.files.measurement(f"loss-step-{self.status.step:08d}") or {}

    def as_json(self, now: float) -> dict[str, Any]:
        """Return the report as plain data."""
        view, status, attempts = self.view, self.status, self.attempts(now)
        best = None if view.best is None else {"value": view.best[0], "step": view.best[1]}
        return {
            "path": str(self.files.path),
            **asdict(view.facts),
            "state": view.state,
            "step": view.step,
            "reason": status.reason if status else None,
            "train": view.train,
            "evaluations": {kind: asdict(each) for kind, each in view.evaluations.items()},
            "best": best,
            "figures": self.final_figures(),
            "seconds": sum(each.seconds for each in attempts),
            "attempts": [asdict(each) for each in attempts],
            "checkpoints": [asdict(c) | {"path": str(c.path)} for c in self.checkpoints()],
        }


class RunReader:
    """Reads a run again and again, each time only what was added to its log."""

    def __init__(self, files: RunFiles) -> None:
        self.files, self._tail = files, LogTail(files.metrics_file)
        self._report: RunReport | None = None

    def read(self, now: float) -> tuple[RunReport, list[dict[str, Any]]]:
        """Return the report as of now, and the lines of the log since the last reading.

        A resumed run writes its log again; what stayed the same is not returned twice.

        Args:
            now: seconds since the epoch.

        Raises:
            ConfigError: the status was damaged after it was written.
        """
        status, new = self.files.status(), self._tail.new_lines()
        attempt = status.attempt if status else 1
        report, fresh = self._report, new
        if report is not None and self._tail.restarted:
            known = {(line["step"], line.get("time")) for line in report.lines}
            fresh = [line for line in new if (line["step"], line.get("time")) not in known]
        if report is None or self._tail.restarted or report.view.attempt != attempt:
            kept = [] if report is None or self._tail.restarted else report.lines
            view = RunView(facts_of(self.files, status), attempt=attempt)
            report = RunReport(files=self.files, status=status, view=view)
            _take(report, kept)
        _take(report, new)
        report.status = status
        self._report = report
        _note_state(report, now)
        return report, fresh


def _take(report: RunReport, lines: Iterable[Mapping[str, Any]]) -> None:
    for line in lines:
        report.lines.append(dict(line))
        report.view.add(line)


def _note_state(report: RunReport, now: float) -> None:
    view, status = report.view, report.status
    view.state = present_state(report.files, status)
    if status is not None:
        view.step = max(view.step, status.step)
        view.saved = status.last_good_step
        place = report.files.checkpoint(status.last_good_step or 0)
        view.saved_at = place.stat().st_mtime if place.is_dir() else None
    attempts = report.attempts(now)
    alive = report.is_alive and attempts
    view.started = seconds_of(attempts[-1].started) if alive else None
    view.seconds = sum(each.seconds for each in (attempts[:-1] if alive else attempts))


def facts_of(files: RunFiles, status: RunStatus | None) -> RunFacts:
    """Return the facts of a run; as far as its settings tell them, if its status has none."""
    if status is not None and status.facts is not None:
        return status.facts
    settings = settings_of(files)
    steps = settings.get("training.max_steps")
    return RunFacts(
        name=str(settings.get("experiment_name", files.path.name)),
        architecture=str(settings.get("model.architecture", "unknown model")),
        total_steps=steps if isinstance(steps, int) else 0,
    )


def seconds_of(time: str) -> float:
    """Return a time in ISO 8601 as seconds since the epoch; 0 if it is none."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0.0
