"""Curves of runs: the values of a figure over steps, tokens, words or hours."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from model_foundry.errors import ConfigError
from model_foundry.run_reports.run_report import RunReport, seconds_of
from model_foundry.run_reports.suggestions import suggested

STEP, HOURS = "step", "hours"
SEEN = "_seen"
SECONDS_PER_HOUR = 3600
DEFAULT_METRICS = ("train/loss", "eval/loss", "train/learning_rate", "train/grad_norm")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One figure of one run."""

    x: Sequence[float]
    y: Sequence[float]
    """NaN: it was not finite."""
    best: int | None = None
    """Place of the best value; None: it decides nothing, or has none."""
    attempts: Sequence[float] = field(default_factory=tuple)
    """Places at which the run resumed, on the axis of `x`."""

    def smoothed(self, points: int) -> Sequence[float]:
        """Return the means over about `points` neighbours, half of them at both ends."""
        half = points // 2
        if not half:
            return self.y
        means = []
        for place, value in enumerate(self.y):
            near = self.y[max(0, place - half) : place + half + 1]
            near = [y for y in near if math.isfinite(y)]
            means.append(sum(near) / len(near) if math.isfinite(value) else math.nan)
        return means


def metric_names(reports: Sequence[RunReport]) -> list[str]:
    """Return the names of all figures in the logs of runs, in the order of their appearance."""
    names: dict[str, None] = {}
    for report in reports:
        for line in report.lines:
            names.update((name, None) for name, value in line.items() if _is_figure(name, value))
    return list(names)


def _is_figure(name: str, value: Any) -> bool:
    return "/" in name and (value is None or isinstance(value, int | float))


def require_metrics(reports: Sequence[RunReport], wanted: Sequence[str]) -> None:
    """Raise a `ConfigError` for a figure that no run has; the message names the nearest one."""
    known = metric_names(reports)
    for name in wanted:
        if name not in known:
            hint = suggested(name, known) or f"there are {', '.join(known)}"
            raise ConfigError(f"--metric {name!r}: no run has logged it; {hint}")


def curve_of(report: RunReport, metric: str, axis: str = STEP) -> Curve:
    """Return a figure of a run over an axis.

    Args:
        axis: `step`, `hours` of training, or a unit that was counted, such as `tokens`.

    Raises:
        ConfigError: the run did not count that unit.
    """
    lines = [line for line in report.lines if metric in line]
    place = _axis(report, axis)
    y = [math.nan if line[metric] is None else float(line[metric]) for line in lines]
    best = None
    if metric == f"eval/{report.view.facts.best_metric}" and report.view.best is not None:
        steps = [line["step"] for line in lines]
        best = steps.index(report.view.best[1]) if report.view.best[1] in steps else None
    return Curve(
        x=[place(line) for line in lines],
        y=y,
        best=best,
        attempts=_resumed(report, place) if report.lines else (),
    )


def _resumed(report: RunReport, place: Any) -> list[float]:
    """Return the places of the steps from which the later attempts resumed."""
    attempts = report.status.attempts[1:] if report.status else ()
    return [place({"step": each.step, "time": seconds_of(each.started)}) for each in attempts]


def _axis(report: RunReport, axis: str) -> Any:
    """Return a function from a line of the log to its place on an axis."""
    if axis == STEP:
        return lambda line: float(line["step"])
    if axis == HOURS:
        return lambda line: _hours(report, line["time"])
    name = f"train/{axis}{SEEN}"
    points = [(line["step"], line[name]) for line in report.lines if line.get(name) is not None]
    if not points:
        units = sorted({n[6 : -len(SEEN)] for n in metric_names([report]) if n.endswith(SEEN)})
        known = ", ".join((STEP, HOURS, *units))
        raise ConfigError(f"--x {axis!r}: {report.files.path} has not counted it; it has {known}")
    return lambda line: _interpolated([(0, 0), *points], line["step"])


def _interpolated(points: Sequence[tuple[float, float]], step: float) -> float:
    """Return the count at a step between two lines that have it; beyond the last, that one."""
    place = bisect_left(points, (step, -math.inf))
    if place == len(points):
        return float(points[-1][1])
    (before, low), (after, high) = points[max(0, place - 1)], points[place]
    share = (step - before) / (after - before) if after > before else 1.0
    return low + share * (high - low)


def _hours(report: RunReport, time: float) -> float:
    """Return the hours of training up to a time; the pauses between attempts do not count."""
    passed = 0.0
    records = report.status.attempts if report.status else ()
    starts = [seconds_of(record.started) for record in records]
    for number, started in enumerate(starts):
        ended = records[number].ended
        if ended is not None and number + 1 < len(starts) and time >= starts[number + 1]:
            passed += seconds_of(ended) - started
        elif time >= started:
            passed += time - started
    if not starts and report.lines:
        passed = time - report.lines[0]["time"]
    return passed / SECONDS_PER_HOUR
