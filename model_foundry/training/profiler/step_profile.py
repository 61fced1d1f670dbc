"""`StepProfile`: what all profiles of a training share, which is the steps that they look at."""

import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from statistics import median
from typing import Protocol

import torch

from model_foundry.training.hooks import Hook, Training


class Report(Protocol):
    """The result of a profile."""

    def lines(self) -> Iterator[str]:
        """Yield it as text."""


class StepProfile(Hook):
    """Profiles some steps of a training, once, early in it.

    Args:
        warm_up: steps before the profiled ones, in which compilers and caches settle.
        steps: profiled steps. One more precedes them, in which the profiler starts.
    """

    def __init__(self, *, warm_up: int = 10, steps: int = 5) -> None:
        self.warm_up, self.steps = warm_up, steps
        self.report: Report | None = None
        self._begun = 0
        self._seconds: list[float] = []

    @property
    def steps_needed(self) -> int:
        """Remaining steps that a training must have to be profiled."""
        return self.warm_up + 1 + self.steps

    @property
    def seconds(self) -> float:
        """Median length of the last steps before the profiled ones."""
        return median(self._seconds[-self.steps :])

    @contextmanager
    def around_step(self, training: Training) -> Iterator[None]:
        turn = self._begun - self.warm_up  # 0: the profiler starts
        self._begun += 1
        if turn > self.steps:
            yield
        elif turn < 0:
            wait_for_gpu()
            begun = time.perf_counter()
            yield
            wait_for_gpu()
            self._seconds.append(time.perf_counter() - begun)
        else:
            with self._profiled(training, counts=turn > 0):
                yield
            if turn == self.steps:
                self._finish(training.context.state.step)

    @abstractmethod
    def _profiled(self, training: Training, *, counts: bool) -> AbstractContextManager[None]:
        """Return a context in which a step is profiled.

        Args:
            counts: False for the step in which the profiler starts.
        """

    @abstractmethod
    def _finish(self, step: int) -> None:
        """Set the report, and announce it.

        Args:
            step: the last step that was made.
        """


def wait_for_gpu() -> None:
    """Wait until the GPU has done its work; without one there is nothing to wait for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def milliseconds(seconds: float) -> str:
    """Return a time for a table."""
    return f"{seconds * 1000:,.2f}"
