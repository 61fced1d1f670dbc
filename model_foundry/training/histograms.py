"""Histograms of tensors, counted in a thread while the training goes on."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from torch import Tensor

BINS: Final = 64


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

    NumPy counts in one thread; torch would take those of the training.
    """
    flat = values.detach().float().numpy().ravel()
    exact = flat[np.isfinite(flat)].astype(np.float64)  # bins may be narrower than a float32
    if not exact.size:
        return None
    counts, edges = np.histogram(exact, bins)
    return Histogram(
        counts=tuple(counts.tolist()),
        edges=tuple(edges.tolist()),
        number=exact.size,
        sum=float(exact.sum()),
        sum_of_squares=float(exact @ exact),
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
