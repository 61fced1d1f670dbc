"""Histograms of tensors, counted in a thread while the training goes on."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import Tensor

BINS: Final = 64
PART: Final = 8_192
"""Values counted at a time. Copies of twice as many are taken from the system and given back each
time (`mmap`), which made counting beside a training five times as long."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of the finite values of a tensor between its extremes."""

    counts: tuple[int, ...]
    edges: tuple[float, ...]
    """One more than counts, ascending."""
    number: int
    """Finite values."""
    sum: float
    sum_of_squares: float


def histogram(values: Tensor, bins: int = BINS) -> Histogram | None:
    """Count the finite values of a tensor in bins of equal width; None: there are none.

    One thread counts, a part at a time that fits into its cache. torch would take the threads of
    the training, and `numpy.histogram` nine times as long (measured).
    """
    flat = values.detach().float().numpy().ravel()
    if not (finite := np.isfinite(flat)).all():
        flat = flat[finite]
    if not flat.size:
        return None
    low, high = float(flat.min()), float(flat.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, total, squares = np.zeros(bins, np.int64), 0.0, 0.0
    for start in range(0, flat.size, PART):
        part = flat[start : start + PART].astype(np.float64)  # bins may be narrower than a float32
        total += float(part.sum())
        squares += float(part @ part)
        places = np.minimum((part - low) * (bins / (high - low)), bins - 1).astype(np.intp)
        counts += np.bincount(places, minlength=bins)
    return Histogram(
        counts=tuple(counts.tolist()),
        edges=tuple(np.linspace(low, high, bins + 1).tolist()),
        number=flat.size,
        sum=total,
        sum_of_squares=squares,
    )


class PendingHistograms:
    """Copies of tensors, replaced by their histograms in the thread that first asks for these.

    Args:
        tensors: copies on the CPU by name, which a GPU may still write.
        written: an event of the GPU after which they are complete; None: they are.
    """

    def __init__(self, tensors: Mapping[str, Tensor], written: Any = None) -> None:
        self._tensors, self._written = dict(tensors), written
        self._found: dict[str, Histogram] | None = None
        self._lock = threading.Lock()

    @property
    def is_counted(self) -> bool:
        """True once the copies are gone."""
        return self._found is not None

    def counted(self) -> dict[str, Histogram]:
        """Return the histograms by name; tensors without a finite value are left out."""
        with self._lock:
            if self._found is None:
                if self._written is not None:
                    self._written.synchronize()
                found = {name: histogram(tensor) for name, tensor in self._tensors.items()}
                self._found = {name: each for name, each in found.items() if each is not None}
                self._tensors.clear()
            return self._found
