"""Medians of ratios, and their confidence intervals."""

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
        per_start: number of successive values that come from the same processes; they are drawn
            together, since they are not independent.
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
    """The measured quantity or shape."""
    ours: str
    other: str
    bar: float | None
    """The required ratio; None: none."""
    at_most: bool = False
    """The bar is an upper limit."""
    values: tuple[float, ...] = ()
    """One ratio a comparison."""
    per_start: int = 1
    """Comparisons for each start of the processes."""
    not_run: str | None = None
    """Reason for not measuring it; None: it was measured."""

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
        """Yes, no, or `within noise` if the interval contains the bar; empty without a bar."""
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
        """Return the fields for JSON, as `Ratio(**...)` takes them."""
        return asdict(self)
