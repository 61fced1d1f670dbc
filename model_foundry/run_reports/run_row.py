"""`RunRow`: one run of a list, with every figure and setting of it by name.

Only its status and the end of its log are read, and its settings once one is asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from model_foundry.errors import ConfigError
from model_foundry.run_reports.log_tail import last_figures
from model_foundry.run_reports.plain_settings import settings_of
from model_foundry.run_reports.run_files import RunFiles, RunStatus
from model_foundry.run_reports.run_report import ALIVE, facts_of, seconds_of
from model_foundry.run_reports.run_state import present_state

KEYS = (
    *("run", "name", "state", "step", "total_steps", "attempt", "architecture", "parameters"),
    *("loss", "best", "best_metric", "best_step", "seconds", "started", "reason"),
)
"""What every run has, beside its figures and settings."""


@dataclass(frozen=True)
class RunRow:
    """One run."""

    files: RunFiles
    status: RunStatus | None
    now: float
    """Time in seconds since the epoch."""
    fault: str | None = None
    """Reason why its status cannot be read; None: it can."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Its last figures by their names in the log, and those of its final model."""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings by dotted name."""
        return settings_of(self.files)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The values of `KEYS`; None: unknown."""
        if self.fault is not None:
            return {"run": str(self.files.path), "state": "unreadable", "reason": self.fault}
        status = self.status
        facts = facts_of(self.files, status)
        best, best_step = self._best(facts.best_metric)
        return {
            "run": str(self.files.path),
            "name": facts.name,
            "state": present_state(self.files, status),
            "step": max(self.figures.get("step", 0), status.step if status else 0),
            "total_steps": facts.total_steps or None,
            "attempt": status.attempt if status else None,
            "architecture": facts.architecture,
            "parameters": facts.parameters,
            "loss": self.figures.get("train/loss"),
            "best": best,
            "best_metric": None if best is None else facts.best_metric,
            "best_step": best_step,
            "seconds": self._seconds(),
            "started": status.attempts[0].started if status and status.attempts else None,
            "reason": status.reason if status else None,
        }

    def _best(self, metric: str) -> tuple[float | None, int | None]:
        """Return the best evaluation and its step: of the log, which a killed run wrote last."""
        if (value := self.figures.get(f"best/{metric}")) is not None:
            return value, self.figures.get("best/step")
        best = self.status.best if self.status else None
        return (best.value, best.step) if best else (None, None)

    def _seconds(self) -> float | None:
        """Return the length of all attempts; None: unknown."""
        if self.status is None or not self.status.attempts:
            return None
        alive = present_state(self.files, self.status) in ALIVE
        logged = self.figures.get("time", 0.0)
        last = self.now if alive else max(logged, seconds_of(self.status.time))
        return sum(
            (seconds_of(each.ended) if each.ended else last) - seconds_of(each.started)
            for each in self.status.attempts
        )

    def knows(self, key: str) -> bool:
        """Return True if the run has a value of this name, be it None."""
        return key in KEYS or key in self.figures or key in self.settings

    def value(self, key: str) -> Any:
        """Return a value by its name; None: the run has none."""
        if key in KEYS:
            return self.facts.get(key)
        return self.figures[key] if key in self.figures else self.settings.get(key)

    def names(self) -> Iterator[str]:
        """Yield the names of everything that the run has a value of."""
        yield from KEYS
        yield from (name for name in self.figures if "/" in name)
        yield from self.settings


def read_row(files: RunFiles, now: float) -> RunRow:
    """Read one run; what is wrong with it is part of the row.

    Args:
        now: seconds since the epoch.
    """
    try:
        status = files.status()
        figures = last_figures(files.metrics_file)
        if status is not None and status.state == "completed":
            final = files.measurement(f"loss-step-{status.step:08d}") or {}
            figures |= {name: value for name, value in final.items() if "/" in name}
    except ConfigError as error:
        return RunRow(files, None, now, fault=str(error))
    except OSError as error:
        return RunRow(files, None, now, fault=f"{error.filename}: {error.strerror}")
    return RunRow(files, status, now, figures=figures)
