"""`RunView`: what reports show of a run, built from the lines of its log.

A running training and the directory of a run build it in the same way, so both look the same.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model_foundry.run_reports.run_files import RunFacts
from model_foundry.run_reports.run_state import PresentState

LEFT_OUT = ("best", "activations")  # a view finds the best itself; one figure a layer
TRAIN = "train"
KEPT_LOSSES = 1024  # of the curve; beyond that, neighbours are averaged
RECENT = 20  # lines of the log over which the speed is measured, and the loss averaged at most
SMOOTHED = 4  # the loss is averaged over the last of so many parts of the lines


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The figures of one kind of evaluation at a step."""

    step: int
    values: Mapping[str, float]
    """By name; NaN: not finite."""
    before: Mapping[str, float] = field(default_factory=dict)
    """The figures of the evaluation before it; empty: there was none."""


@dataclass
class RunView:
    """A run as it is shown.

    Args:
        step: optimizer steps made.
        attempt: number of the present attempt.
    """

    facts: RunFacts
    step: int = 0
    attempt: int = 1
    state: PresentState = "running"
    train: dict[str, float] = field(default_factory=dict)
    """Figures of the last line of training, by name."""
    smoothed: float | None = None
    """Mean of the loss over the last quarter of the lines, at most 20; None: there is none yet."""
    losses: list[float] = field(default_factory=list)
    """The curve of the loss, NaN where it was not finite."""
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    """The last evaluation of each kind: `eval`, `test` and others."""
    best: tuple[float, int] | None = None
    """The best value of the metric that decides, and its step; None before the first."""
    saved: int | None = None
    """Step of the newest checkpoint; None before the first."""
    saved_at: float | None = None
    """Time of it in seconds since the epoch; None: unknown."""
    memory: float | None = None
    """Most bytes taken so far; None: unknown."""
    started: float | None = None
    """Start of the present attempt, in seconds since the epoch; None: unknown."""
    seconds: float = 0.0
    """Length of the attempts before it."""
    _finite: int = 0  # losses
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    _span: float = 1.0  # lines of the log that one point of `losses` stands for
    _pending: list[float] = field(default_factory=list)
    _marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RECENT))

    def begin(self, time: float) -> None:
        """Begin an attempt at the present step.

        Args:
            time: seconds since the epoch.
        """
        self.started = time
        self._marks.clear()
        self._marks.append((time, self.step))

    def add(self, line: Mapping[str, Any]) -> None:
        """Take a line of the log; values that are no numbers are left out."""
        self.step = max(self.step, line["step"])
        if line.get("attempt") == self.attempt and isinstance(line.get("time"), int | float):
            self._marks.append((line["time"], line["step"]))
        for kind, values in grouped(line).items():
            if kind == TRAIN:
                self._add_training(values)
            else:
                last = self.evaluations.get(kind)
                before = last.values if last else {}
                new = Evaluation(step=line["step"], values=values, before=before)
                # not changed in place: a panel draws it in another thread
                self.evaluations = {**self.evaluations, kind: new}
        self._note_best(line["step"], line.get(f"eval/{self.facts.best_metric}"))

    def _add_training(self, values: dict[str, float]) -> None:
        self.train = values
        if (memory := values.get("peak_memory_mib")) is not None:
            self.memory = memory * 2**20
        if (loss := values.get("loss")) is None:
            return
        self._extend_curve(loss)
        if math.isfinite(loss):
            self._recent.append(loss)
            self._finite += 1
            number = max(1, min(RECENT, self._finite // SMOOTHED))  # the first ones are far above
            self.smoothed = _mean([*self._recent][-number:])

    def _extend_curve(self, loss: float) -> None:
        self._pending.append(loss)
        if len(self._pending) < self._span:
            return
        self.losses.append(_mean(self._pending))
        self._pending = []
        if len(self.losses) >= KEPT_LOSSES:
            self.losses = [_mean(self.losses[n : n + 2]) for n in range(0, KEPT_LOSSES, 2)]
            self._span *= 2

    def _note_best(self, step: int, value: Any) -> None:
        if not isinstance(value, int | float) or not math.isfinite(value):
            return
        sign = -1 if self.facts.greater_is_better else 1
        if self.best is None or sign * value < sign * self.best[0]:
            self.best = float(value), step

    def seconds_left(self) -> float | None:
        """Return the time to the last step at the recent speed; None: unknown."""
        if len(self._marks) < 2 or self.state != "running":
            return None
        (begun, first), (now, last) = self._marks[0], self._marks[-1]
        if last <= first:
            return None
        return (now - begun) / (last - first) * (self.facts.total_steps - self.step)

    def speed(self) -> tuple[float, str] | None:
        """Return units a second and their name, as of the last line; None: there was none."""
        for name, value in self.train.items():
            if name.endswith("_per_second"):
                return value, name.removesuffix("_per_second")
        return None


def grouped(line: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the figures of a line of the log by kind and name; null becomes NaN.

    Kinds that no one reads line by line are left out.
    """
    groups: dict[str, dict[str, float]] = {}
    for key, value in line.items():
        kind, slash, name = key.partition("/")
        if slash and kind not in LEFT_OUT and (value is None or isinstance(value, int | float)):
            groups.setdefault(kind, {})[name] = math.nan if value is None else float(value)
    return groups


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
