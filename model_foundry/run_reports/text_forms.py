"""Durations, curves and memory as short text."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-=+*%#"
GAP = " "
NOT_CAPPED = 0.9  # share of the points below the top: the first losses would flatten the others
MINUTE, HOUR, DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """Return a length of time as `0:01:23` or `2 days, 0:01:23`; below a second, as `0.3 s`."""
    if 0 < seconds < 0.95:
        return f"{seconds:.1f} s"
    return str(timedelta(seconds=round(max(0.0, seconds))))


def time_left(seconds: float) -> str:
    """Return the time to the end of a run, as `0:01:23 left`; a second at least."""
    return f"{duration(max(1.0, seconds))} left"


def ago(seconds: float) -> str:
    """Return a length of time up to now, in one unit."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def memory_size(number: float) -> str:
    """Return a number of bytes in GB or MB."""
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:,.0f} MB"


def sparkline(values: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """Return a curve as at most `width` characters; values that are not finite are gaps.

    A character stands for the mean of neighbouring values.
    """
    bars = ASCII_BARS if ascii_only else BARS
    points = _means(values, width)
    finite = [value for value in points if math.isfinite(value)]
    if not finite:
        return GAP * len(points)
    ordered = sorted(finite)
    most = ordered[math.ceil(NOT_CAPPED * (len(ordered) - 1))]
    low, high = ordered[0] / 2, most / 2  # halves, whose difference is always finite
    scale = (len(bars) - 1) / (high - low) if high > low else 0.0
    steps = [round((min(value, most) / 2 - low) * scale) for value in finite]
    drawn = iter(bars[step] for step in steps)
    return "".join(next(drawn) if math.isfinite(value) else GAP for value in points)


def _means(values: Sequence[float], width: int) -> list[float]:
    number = len(values)
    if number <= width or width <= 0:
        return list(values[:width])
    edges = [round(index * number / width) for index in range(width + 1)]
    means = []
    for first, end in pairwise(edges):
        finite = [value for value in values[first:end] if math.isfinite(value)]
        means.append(sum(finite) / len(finite) if finite else math.nan)
    return means


def local_time(text: str) -> str:
    """Return a time in ISO 8601 in the zone of this machine, to the minute."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text
