"""Medians, and the interval that a median of ratios would stay in."""

import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

RESAMPLES: Final = 4000
CONFIDENCE: Final = 0.95


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of the median, by the percentile bootstrap (Efron 1979)."""
    draw = random.Random(0)
    medians = sorted(
        statistics.median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    tail = round((1 - CONFIDENCE) / 2 * RESAMPLES)
    return medians[tail], medians[-1 - tail]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One quantity of ours divided by that of another, round by round."""

    group: str
    """What was measured, such as the shape of a model."""
    ours: str
    other: str
    bar: float | None
    """What it must reach; None: nothing is asked."""
    at_most: bool = False
    """Whether the bar is the most that is allowed instead."""
    values: tuple[float, ...] = ()
    """One ratio a round."""
    not_run: str | None = None
    """Why it was not measured; None: it was."""

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return statistics.median(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the median."""
        return interval(self.values)

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
