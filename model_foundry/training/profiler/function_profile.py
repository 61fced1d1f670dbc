"""A few training steps under Python's own profiler: the time of each function.

It slows Python down, not what torch computes, so its shares overrate functions that call many
others.
"""

import cProfile
import logging
import pstats
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_foundry.foundation.messages import printable
from model_foundry.training.hooks import Training
from model_foundry.training.profiler.step_profile import StepProfile, milliseconds, wait_for_gpu

logger = logging.getLogger(__name__)

MOST_FUNCTIONS = 20  # in the table
PARTS_OF_A_PATH = 3  # that tell a file from others of its name


@dataclass(frozen=True)
class FunctionCost:
    """Average cost of a function in a step."""

    name: str
    """Its name, with file and line unless it is built in."""
    calls: float
    own_seconds: float
    """Without the functions that it calls."""
    seconds: float
    """With them; a recursive function counts once."""


@dataclass(frozen=True, kw_only=True)
class FunctionReport:
    """Costs of the profiled steps, by function."""

    last_step: int
    steps: int
    """Number of profiled steps."""
    seconds: float
    """Median length of a step just before, without the profiler."""
    functions: list[FunctionCost]
    """Those that take longest with what they call, first."""
    file: Path | None
    """All of it, for `pstats` and its viewers; None: it was not written."""

    def lines(self) -> Iterator[str]:
        """Yield the length of a step, and the functions that take longest."""
        first = self.last_step - self.steps + 1
        yield (
            f"a step takes {milliseconds(self.seconds)} ms; steps {first} to {self.last_step}, "
            "under the profiler, by function, for a step:"
        )
        yield f"{'calls':>9}{'own ms':>10}{'ms':>10}  function"
        for cost in self.functions[:MOST_FUNCTIONS]:
            own, whole = milliseconds(cost.own_seconds), milliseconds(cost.seconds)
            yield f"{cost.calls:9,.1f}{own:>10}{whole:>10}  {printable(cost.name)}"
        if self.file is not None:
            yield f"all functions, for python -m pstats: {self.file}"


class FunctionProfile(StepProfile):
    """Profiles the functions of the thread that trains.

    Args:
        directory: directory of the file with all functions, created if missing.
        announce: called with the report, while the training continues.
        warm_up, steps: see `StepProfile`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        announce: Callable[[FunctionReport], None],
        warm_up: int = 10,
        steps: int = 5,
    ) -> None:
        super().__init__(warm_up=warm_up, steps=steps)
        self.directory, self.announce = directory, announce
        self._profiler = cProfile.Profile()

    @contextmanager
    def _profiled(self, training: Training, *, counts: bool) -> Iterator[None]:
        if not counts:
            yield
            return
        self._profiler.enable()
        try:
            yield
            wait_for_gpu()
        finally:
            self._profiler.disable()

    def _finish(self, step: int) -> None:
        self.report = report = FunctionReport(
            last_step=step,
            steps=self.steps,
            seconds=self.seconds,
            functions=self._costs(),
            file=self._save(self.directory / f"functions-step-{step:08d}.pstats"),
        )
        self.announce(report)

    def _costs(self) -> list[FunctionCost]:
        stats = pstats.Stats(self._profiler).stats  # type: ignore[attr-defined]  # not in its stub
        costs = [
            FunctionCost(_name_of(place), calls / self.steps, own / self.steps, whole / self.steps)
            for place, (_, calls, own, whole, _) in stats.items()
            if place[2] != DISABLE
        ]
        return sorted(costs, key=lambda cost: cost.seconds, reverse=True)

    def _save(self, path: Path) -> Path | None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._profiler.dump_stats(path)
        except OSError as error:  # the training matters more
            logger.warning("%s: cannot be written (%s)", path, error.strerror)
            return None
        return path


DISABLE = "<method 'disable' of '_lsprof.Profiler' objects>"


def _name_of(place: tuple[str, int, str]) -> str:
    file, line, name = place
    if not line:  # built in
        return name
    return f"{name} ({'/'.join(Path(file).parts[-PARTS_OF_A_PATH:])}:{line})"
