"""A few training steps under torch's profiler: the time of each phase and operator.

Profiling changes nothing that is computed.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, record_function

from model_foundry.architectures import BaseLanguageModel, BaseModel, device_of
from model_foundry.foundation.messages import printable
from model_foundry.training.hooks import Training
from model_foundry.training.profiler.costs import Cost, Tally
from model_foundry.training.profiler.phases import STEP
from model_foundry.training.profiler.step_profile import StepProfile, milliseconds, wait_for_gpu

logger = logging.getLogger(__name__)

MOST_OPERATORS = 10  # in the table


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
    """The costliest first, each without those that it calls; empty: only phases were asked for."""
    trace: Path | None
    """The last step in the format of Chrome's and Perfetto's viewers; None: it was not written."""

    def lines(self) -> Iterator[str]:
        """Yield the step, its phases, and its costliest operators."""
        first, whole = self.last_step - self.steps + 1, self.profiled_seconds
        yield (
            f"a step takes {milliseconds(self.seconds)} ms, {self.number / self.seconds:,.0f} "
            f"{self.unit} per second; steps {first} to {self.last_step}, under the profiler, "
            f"{milliseconds(whole)} ms:"
        )
        device = "of the GPU" if self.on_gpu else "of the processor"
        yield f"{'share':>8}{'ms':>10}  time {device}"
        for cost in self.phases:
            time = milliseconds(cost.seconds)
            yield f"{cost.seconds / whole:8.1%}{time:>10}  {printable(cost.name)}"
        if self.operators:
            yield from self._operator_lines()
        if self.trace is not None:
            yield f"trace of step {self.last_step}, for ui.perfetto.dev: {self.trace}"

    def _operator_lines(self) -> Iterator[str]:
        yield f"{'share':>8}{'ms':>10}{'calls':>8}{'GFLOP/s':>9}  operator"
        for cost in self.operators[:MOST_OPERATORS]:
            rate = f"{cost.flops / cost.seconds / 1e9:,.0f}" if cost.flops else ""
            yield (
                f"{cost.seconds / self.profiled_seconds:8.1%}{milliseconds(cost.seconds):>10}"
                f"{cost.calls:8,.0f}{rate:>9}  {printable(cost.name)}"
            )


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


class Profile(StepProfile):
    """Profiles phases and operators with torch's profiler.

    Args:
        directory: directory of the trace, created if missing; None: phases only, and no trace.
        announce: called with the report, while the training continues.
        warm_up, steps: see `StepProfile`.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        announce: Callable[[ProfileReport], None],
        warm_up: int = 10,
        steps: int = 5,
    ) -> None:
        super().__init__(warm_up=warm_up, steps=steps)
        self.directory, self.announce = directory, announce
        self._number, self._unit = 0, ""
        self._tally: Tally | None = None
        self._last: torch.profiler.profile | None = None

    @contextmanager
    def _profiled(self, training: Training, *, counts: bool) -> Iterator[None]:
        state = training.context.state
        _, before = state.position
        with _profiler() as self._last, record_function(STEP):
            yield
            wait_for_gpu()
        if counts:
            self._unit, number = state.position
            self._number += number - before
            self._add(self._last, training.model)

    def _add(self, profiler: torch.profiler.profile, model: BaseModel) -> None:
        if self._tally is None:
            on_gpu = device_of(model).type == "cuda"
            self._tally = Tally(_vocabulary_shapes(model), on_gpu)
        events: list[Any] = profiler.events()  # type: ignore[no-untyped-call]
        self._tally.add(events)

    def _finish(self, step: int) -> None:
        assert self._tally is not None and self._last is not None  # some steps were profiled
        trace = None
        if self.directory is not None:
            trace = self._save_trace(self._last, self.directory, step)
        self.report = report = self._build_report(self._tally, step, trace)
        self._last = None
        self.announce(report)

    def _save_trace(
        self, profiler: torch.profiler.profile, directory: Path, step: int
    ) -> Path | None:
        path = directory / f"profile-step-{step:08d}.json.gz"
        try:
            directory.mkdir(parents=True, exist_ok=True)
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
            seconds=self.seconds,
            profiled_seconds=tally.total / tally.steps / 1e6,
            number=self._number / tally.steps,
            unit=self._unit,
            phases=phases,
            operators=[] if self.directory is None else operators,
            trace=trace,
        )
