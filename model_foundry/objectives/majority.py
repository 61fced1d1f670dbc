"""The figures of a classifier that reads nothing: the baseline of a task with labels."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Targets = NDArray[Any]


def majority_figures(train: Targets, held_out: Targets) -> dict[str, float]:
    """Return `accuracy` and `macro_f1` of predicting what most training targets are.

    Labels that neither occur nor are predicted are left out of the mean, as in `MacroF1`.

    Args:
        train: numbers of labels (N,); of several labels (N, C) of 0 and 1, each of which is
            predicted if most examples have it, and `accuracy` is undefined.
        held_out: the targets to predict, in the same form.
    """
    if train.ndim == 2:
        actual, predicted = held_out > 0.5, np.broadcast_to(train.mean(0) > 0.5, held_out.shape)
        return {"macro_f1": _macro_f1(actual, predicted)}
    chosen = np.bincount(train.astype(np.int64)).argmax()
    classes = np.arange(max(train.max(), held_out.max()) + 1)
    actual, predicted = (
        held_out[:, None] == classes,
        np.broadcast_to(chosen == classes, (len(held_out), len(classes))),
    )
    return {
        "accuracy": float((held_out == chosen).mean()),
        "macro_f1": _macro_f1(actual, predicted),
    }


def _macro_f1(actual: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Return the mean F1 over the labels, NaN without any; both are (N, C)."""
    total = actual.sum(0) + predicted.sum(0)
    f1 = 2 * (actual & predicted).sum(0)[total > 0] / total[total > 0]
    return float(f1.mean()) if len(f1) else math.nan
