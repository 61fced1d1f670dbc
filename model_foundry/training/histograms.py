"""Histograms of weights and gradients, counted in a thread while the training goes on.

A step only copies the tensors.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from model_foundry.training.hooks import FinishedStep, Hook, Training
from model_foundry.training.sinks import Sink

logger = logging.getLogger(__name__)

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


class HistogramHook(Hook):
    """Hands the weights after every `every`-th step, and the gradients of that step, to sinks.

    The gradients are those that the optimizer gets: of the whole batch, and clipped. Histograms are
    left out while the last ones are not counted yet.
    """

    def __init__(self, sinks: Sink, every: int) -> None:
        self.sinks, self.every = sinks, every
        self._gradients: dict[str, Tensor] = {}
        self._pending: PendingHistograms | None = None
        self._skipped = False

    def on_start(self, training: Training) -> None:
        if training.optimizer is None:
            return
        state = training.context.state

        def keep_gradients(*_: Any) -> None:
            if (state.step + 1) % self.every == 0 and self._is_free():
                self._gradients = _copies(training, gradients=True)

        training.optimizer.register_step_pre_hook(keep_gradients)

    def after_step(self, training: Training, step: FinishedStep) -> None:
        if training.context.state.step % self.every or not self._is_free():
            return
        tensors = self._gradients | _copies(training, gradients=False)
        self._gradients = {}
        written = None
        if training.context.accelerator.device.type == "cuda":
            written = torch.cuda.Event()  # type: ignore[no-untyped-call]
            written.record()
        self._pending = PendingHistograms(tensors, written)
        threading.Thread(target=self._pending.counted, name="histograms", daemon=True).start()
        self.sinks.histograms(training.context.state.step, self._pending)

    def _is_free(self) -> bool:
        free = self._pending is None or self._pending.is_counted
        if not free and not self._skipped:
            self._skipped = True
            logger.warning(
                "tracking.histogram_steps (=%d): counting takes longer; some are left out",
                self.every,
            )
        return free


@torch.no_grad()
def _copies(training: Training, *, gradients: bool) -> dict[str, Tensor]:
    """Return copies of all parameters, or of their gradients, on the CPU.

    A GPU writes them later, into pinned memory.
    """
    found = {}
    for name, parameter in training.model.named_parameters():
        tensor = parameter.grad if gradients else parameter
        if tensor is not None and (gradients or parameter.requires_grad):
            copy = tensor.detach().to("cpu", non_blocking=True, copy=True)
            found[f"{'gradients' if gradients else 'weights'}/{name}"] = copy
    return found
