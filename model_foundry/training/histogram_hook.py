"""Histograms of weights and gradients for trackers; a step only copies the tensors."""

import logging
import threading
from typing import Any

import torch
from torch import Tensor

from model_foundry.training.histograms import PendingHistograms
from model_foundry.training.hooks import FinishedStep, Hook, Training
from model_foundry.training.sinks import Sink

logger = logging.getLogger(__name__)


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
