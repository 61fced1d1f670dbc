"""A few training steps under torch's profiler: the time of each phase and operator.

Profiling changes nothing that is computed. The table is printed elsewhere.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, record_function

from model_foundry.architectures import BaseLanguageModel, BaseModel, device_of
from model_foundry.training.hooks import Hook, Training
from model_foundry.training.profiler.costs import Cost, Tally
from model_foundry.training.profiler.phases import STEP

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProfileReport:
    """Costs of the profiled steps."""

    last_step: int
    steps: int
    """Number of profiled steps."""
    on_gpu: bool
    """True if the costs are times of the GPU, not of the CPU."""
    seconds: float
    """Median length of a step just before, without the profiler."""
    profiled_seconds: float
    """Mean length of a step under the profiler: what the costs add up to."""
    number: float
    """What a step has of `unit`, in all processes."""
    unit: str
    """Unit of the speed of training (tokens, examples)."""
    phases: list[Cost]
    operators: list[Cost]
    """The costliest first, each without those that it calls."""
    trace: Path | None
    """The last step in the format of Chrome's and Perfetto's viewers; None: it was not written."""


def _vocabulary_shapes(model: BaseModel) -> set[tuple[int, ...]]:
    """Return the shapes that identify embedding and projection among the matrices.

    Empty if other matrices have the same, or there is no vocabulary; then only the loss itself is
    identified.
    """
    if not isinstance(model, BaseLanguageModel):
        return set()
    size = model.vocabulary_size
    shapes = [tuple(p.shape) for p in model.parameters() if p.dim() == 2 and p.shape[0] == size]
    return set(shapes) if len(shapes) <= 2 else set()


def _profiler() -> torch.profiler.profile:
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    return torch.profiler.profile(activities=activities, record_shapes=True, with_flops=True)


def _wait_for_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Profile(Hook):
    """Profiles some steps of a training, once, early in it.

    Args:
        directory: directory of the trace, created if missing.
        announce: called with the report, while the training continues.
        warm_up: steps before the profiled ones, in which compilers and caches settle.
        steps: profiled steps. One more precedes them, in which the profiler starts.
    """

    def __init__(
        self,
        directory: Path,
        *,
        announce: Callable[[ProfileReport], None],
        warm_up: int = 10,
        steps: int = 5,
    ) -> None:
        self.directory, self.announce = directory, announce
        self.warm_up, self.steps = warm_up, steps
        self.report: ProfileReport | None = None
        self._begun = 0
        self._seconds: list[float] = []
        self._number, self._unit = 0, ""
        self._tally: Tally | None = None

    @property
    def steps_needed(self) -> int:
        """Remaining steps that a training must have to be profiled."""
        return self.warm_up + 1 + self.steps

    @contextmanager
    def around_step(self, training: Training) -> Iterator[None]:
        turn, state = self._begun - self.warm_up, training.context.state  # 0: the profiler starts
        self._begun += 1
        if turn > self.steps:
            yield
        elif turn < 0:
            _wait_for_gpu()
            begun = time.perf_counter()
            yield
            _wait_for_gpu()
            self._seconds.append(time.perf_counter() - begun)
        else:
            _, before = state.position
            with _profiler() as profiler, record_function(STEP):
                yield
                _wait_for_gpu()
            if turn > 0:
                self._unit, number = state.position
                self._number += number - before
                self._add(profiler, training.model, state.step)

    def _add(self, profiler: torch.profiler.profile, model: BaseModel, step: int) -> None:
        if self._tally is None:
            on_gpu = device_of(model).type == "cuda"
            self._tally = Tally(_vocabulary_shapes(model), on_gpu)
        events: list[Any] = profiler.events()  # type: ignore[no-untyped-call]
        self._tally.add(events)
        if self._tally.steps == self.steps:
            self.report = self._build_report(self._tally, step, self._save_trace(profiler, step))
            self.announce(self.report)

    def _save_trace(self, profiler: torch.profiler.profile, step: int) -> Path | None:
        path = self.directory / f"profile-step-{step:08d}.json.gz"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            profiler.export_chrome_trace(str(path))
        except OSError as error:  # the training matters more
            logger.warning("%s: cannot be written (%s)", path, error.strerror)
            return None
        return path

    def _build_report(self, tally: Tally, step: int, trace: Path | None) -> ProfileReport:
        phases, operators = tally.costs()
        return ProfileReport(
            last_step=step,
            steps=tally.steps,
            on_gpu=tally.on_gpu,
            seconds=median(self._seconds[-self.steps :]),
            profiled_seconds=tally.total / tally.steps / 1e6,
            number=self._number / tally.steps,
            unit=self._unit,
            phases=phases,
            operators=operators,
            trace=trace,
        )
