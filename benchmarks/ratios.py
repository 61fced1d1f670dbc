"""Medians, and the interval that a median of ratios would stay in."""

import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Final

RESAMPLES: Final = 4000
CONFIDENCE: Final = 0.95


def interval(values: Sequence[float], per_start: int = 1) -> tuple[float, float]:
    """Return the 95% interval of the median, by the percentile bootstrap (Efron 1979).

    Args:
        per_start: how many values, one after the other, are of the same processes; they are drawn
            together, since they share the luck of these.
    """
    draw = random.Random(0)
    starts = [values[at : at + per_start] for at in range(0, len(values), per_start)]
    medians = sorted(
        statistics.median(chain.from_iterable(draw.choices(starts, k=len(starts))))
        for _ in range(RESAMPLES)
    )
    tail = round((1 - CONFIDENCE) / 2 * RESAMPLES)
    return medians[tail], medians[-1 - tail]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One quantity of ours divided by that of another, comparison by comparison."""

    group: str
    """What was measured, such as the shape of a model."""
    ours: str
    other: str
    bar: float | None
    """What it must reach; None: nothing is asked."""
    at_most: bool = False
    """Whether the bar is the most that is allowed instead."""
    values: tuple[float, ...] = ()
    """One ratio a comparison."""
    per_start: int = 1
    """Comparisons that one start of the processes has given."""
    not_run: str | None = None
    """Why it was not measured; None: it was."""

    @property
    def median(self) -> float:
        """The median over the comparisons."""
        return statistics.median(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the median."""
        return interval(self.values, self.per_start)

    @property
    def verdict(self) -> str:
        """Whether the bar was reached; `within noise`: the interval holds it."""
        if self.bar is None:
            return ""
        low, high = self.interval
        sign = -1 if self.at_most else 1
        worse, better = sorted((sign * low, sign * high))
        bar = sign * self.bar
        if worse >= bar:
            return "yes"
        return "no" if better < bar else "within noise"

    def as_json(self) -> dict[str, Any]:
        """Return what `Ratio(**...)` makes it of again."""
        return asdict(self)
