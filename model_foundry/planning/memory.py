"""The memory of a training: exact for weights, gradients and optimizer state, and by steps with a
few rows for the rest, which grows with the rows in a straight line."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import torch
from torch import Tensor, nn

from model_foundry.errors import is_out_of_memory
from model_foundry.planning.figures import LargestBatch, Memory
from model_foundry.planning.machine import device_memory, resident_bytes
from model_foundry.planning.trial import Trial
from model_foundry.training.out_of_memory import COPIES_WHEN_TRAINED

# Operations of the products in a step that is made for its memory alone: seconds of work.
MOST_OPERATIONS: Final = {"cpu": 3e11, "cuda": 1e14}
# What a process on a CPU grows by beside the tensors, as `python -m benchmarks.plan` measures it:
# blocks that fit no other tensor, and the kernels and buffers of libraries that load at first use.
LOST_BY_ALLOCATOR: Final = 0.25
LOADED_BY_FIRST_STEP: Final = 40 * 2**20
MOST_ROWS: Final = 2**14


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of tensors."""
    return sum(tensor.nbytes for tensor in tensors)


def weight_bytes(model: nn.Module) -> int:
    """Return the bytes of parameters and buffers."""
    return bytes_of((*model.parameters(), *model.buffers()))


def gradient_bytes(model: nn.Module) -> int:
    """Return the bytes of the gradients."""
    return bytes_of(each for each in model.parameters() if each.requires_grad)


@dataclass(frozen=True)
class Peaks:
    """The peak memory of a step by the rows of a forward pass: a straight line."""

    rows: int
    """Rows of the largest step that was made."""
    at_rows: int
    """Bytes that lived at its peak."""
    per_row: float | None
    """Bytes of a further row; None: only one row was tried."""

    def of(self, rows: int) -> int | None:
        """Return the peak with so many rows; None: it is not known."""
        if rows == self.rows:
            return self.at_rows
        if self.per_row is None:
            return None
        return round(self.at_rows + self.per_row * (rows - self.rows))

    def rows_within(self, room: float) -> int:
        """Return the most rows whose peak is within some bytes, 0 if no row is."""
        if not self.per_row or self.per_row < 0:
            return 0
        more = (room - self.at_rows) / self.per_row
        return max(0, min(MOST_ROWS, int(self.rows + more)))


def try_rows(trial: Trial, rows: int) -> Peaks:
    """Make steps with a few rows, or with all of them if that takes seconds.

    Args:
        rows: rows of the forward passes of the run.
    """
    trial.peak_of_step(1)  # the optimizer makes its state in it
    passes = 2 if trial.accumulates else 1
    budget = MOST_OPERATIONS.get(trial.device.type, MOST_OPERATIONS["cpu"])
    most = int(min(MOST_ROWS, budget / (passes * (trial.operations_per_row or 1))))
    large = min(rows, max(2, most))
    if large == 1:
        return Peaks(1, trial.peak_of_step(1), None)
    small = ceil(large * 2 / 3) if large > 2 else 1
    below, above = trial.peak_of_step(small), trial.peak_of_step(large)
    return Peaks(large, above, (above - below) / (large - small))


def plan_memory(
    model: nn.Module,
    trial: Trial | None,
    peaks: Peaks | None,
    *,
    rows: int,
    before: Memory,
    average: int = 0,
) -> Memory:
    """Return the memory of a training.

    Args:
        trial: after the steps that gave `peaks`; None: the model does not fit.
        rows: rows of the forward passes of the run.
        before: what `memory_before` has found.
        average: bytes of the average of the weights; 0: there is none.
    """
    weights, gradients = weight_bytes(model), gradient_bytes(model)
    optimizer = None if trial is None else bytes_of(trial.optimizer_state)
    peak = None if peaks is None else peaks.of(rows)
    activations = None
    if trial is not None and optimizer is not None and peak is not None:
        lasting = weights + average + optimizer + (gradients if trial.accumulates else 0)
        activations = max(0, peak - lasting)
    return replace(
        before,
        rows=rows,
        weights=weights,
        gradients=gradients,
        average=average,
        optimizer=optimizer,
        activations=activations,
        logits=_logits(trial, peaks, rows),
        peak=peak,
        per_row=None if peaks is None else peaks.per_row,
        tried_rows=0 if peaks is None else peaks.rows,
        growth=None if peak is None else growth_of(peak, before.device),
    )


def _logits(trial: Trial | None, peaks: Peaks | None, rows: int) -> int | None:
    if trial is None or peaks is None or trial.logits is None:
        return None
    return round(trial.logits / peaks.rows * rows)


def memory_before(device: torch.device) -> Memory:
    """Return what is free and taken before there is a model."""
    free, installed = device_memory(device)
    return Memory(
        device=device.type,
        rows=0,
        weights=0,
        gradients=0,
        average=0,
        optimizer=None,
        activations=None,
        logits=None,
        peak=None,
        per_row=None,
        tried_rows=0,
        process=resident_bytes(),
        growth=None,
        available=free,
        installed=installed,
    )


def growth_of(peak: float, device: str) -> int:
    """Return what a process grows by, given the peak of its tensors."""
    if device == "cuda":
        return round(peak)
    return round(peak * (1 + LOST_BY_ALLOCATOR) + LOADED_BY_FIRST_STEP)


def largest_batch(
    memory: Memory, peaks: Peaks | None, *, rows_per_step: int
) -> LargestBatch | None:
    """Return the most rows that fit by the straight line; None: not known."""
    if peaks is None or memory.available is None or not peaks.per_row:
        return None
    room = float(memory.available)
    if memory.device != "cuda":
        room = (room - LOADED_BY_FIRST_STEP) / (1 + LOST_BY_ALLOCATOR)
    return _divided(peaks.rows_within(room), "estimated", rows_per_step)


def tried_batch(trial: Trial, guess: int, *, rows_per_step: int) -> LargestBatch:
    """Return the most rows with which a GPU makes a step, by bisection.

    Args:
        guess: rows that may fit, at least 1.
    """
    low, high = 0, max(1, guess)
    while high <= MOST_ROWS and _fits(trial, high):
        low, high = high, 2 * high
    while high - low > max(1, low // 32):
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(trial, middle) else (low, middle)
    return _divided(low, "tried", rows_per_step)


def _fits(trial: Trial, rows: int) -> bool:
    try:
        trial.peak_of_step(rows)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        return True
    trial.release()  # outside of the handler, whose traceback holds the tensors
    return False


def _divided(rows: int, how: str, rows_per_step: int) -> LargestBatch:
    fitting = [n for n in range(1, min(rows, rows_per_step) + 1) if rows_per_step % n == 0]
    dividing = max(fitting, default=0)
    passes = rows_per_step // dividing if dividing else 0
    return LargestBatch(rows=rows, how=how, dividing=dividing, passes=passes)


def average_bytes(weights: Iterable[Tensor]) -> int:
    """Return the bytes of the average of weights, which is kept in fp32."""
    return sum(weight.numel() * torch.float32.itemsize for weight in weights)


def may_try(model: nn.Module, before: Memory, *, average: int = 0) -> bool:
    """Return True if weights, gradients and two moments for each weight are sure to fit, and
    `average` bytes more: a system that runs out of memory ends the process without a message."""
    copies = COPIES_WHEN_TRAINED * weight_bytes(model) + average
    return before.available is None or copies <= before.available
