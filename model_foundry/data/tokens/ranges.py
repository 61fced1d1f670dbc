"""Indices of parts of an array, joined."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def positions(starts: Ints, sizes: Ints) -> Ints:
    """Return `start, start + 1, ...`, `size` of them, for each pair, joined."""
    if len(sizes) and (sizes == sizes[0]).all():  # takes a third of the time
        return (starts[:, None] + np.arange(sizes[0])).ravel()
    shifts = np.repeat(starts - sizes.cumsum() + sizes, sizes)
    return shifts + np.arange(len(shifts))
