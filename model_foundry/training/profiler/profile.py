"""Where the time of a step goes: a few steps under torch's profiler, summed up.

What a step does is marked with `phase`, which costs next to nothing while no profiler runs. Nothing
that is computed depends on being looked at. The table is printed elsewhere.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

import torch
from torch import Tensor
from torch._C._autograd import _profiler_enabled
from torch.profiler import ProfilerActivity, record_function

from model_foundry.architectures import BaseLanguageModel
from model_foundry.training.profiler.costs import MARK, STEP, Cost, Tally
from model_foundry.training.state import TrainState

logger = logging.getLogger(__name__)

_NOTHING: Final = nullcontext()


def phase(name: str) -> AbstractContextManager[object]:
    """Mark what a step does within the block, for a profiler if one runs."""
    # 0.7 microseconds to ask; a mark that nobody sees would cost ten times that
    return record_function(MARK + name) if _profiler_enabled() else _NOTHING


@dataclass(frozen=True, kw_only=True)
class ProfileReport:
    """What was found of the steps that were looked at."""

    last_step: int
    steps: int
    """How many were looked at."""
    on_gpu: bool
    """Whether the costs are times of the GPU, and not of the processor."""
    seconds: float
    """Median length of a step just before, which nobody looked at."""
    profiled_seconds: float
    """Mean length of a step under the profiler: what the costs add up to."""
    tokens: float
    """Tokens of text in a step, of all processes."""
    phases: list[Cost]
    operators: list[Cost]
    """The costliest first, each without those that it calls."""
    trace: Path | None
    """The last step in the format of Chrome's and Perfetto's viewers; None: it was not written."""


def _matrices_of_vocabulary(model: BaseLanguageModel) -> set[tuple[int, ...]]:
    """Return the shapes by which embedding and projection are told from other matrices.

    Empty where others have the same; then only the loss itself is told apart.
    """
    size = cast(Tensor, model.get_input_embeddings().weight).shape[0]
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


class Profile:
    """Looks at some steps of a training, early on and once.

    Args:
        directory: where the trace goes; it is made.
        announce: is called with what was found, while the training goes on.
        warm_up: steps until then; compilers and caches have come to rest after them.
        steps: how many are looked at. One more comes before them, in which profilers get ready.
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
        self._tokens = 0
        self._tally: Tally | None = None

    @property
    def steps_needed(self) -> int:
        """How many steps a training must still have to be profiled."""
        return self.warm_up + 1 + self.steps

    @contextmanager
    def step(self, model: BaseLanguageModel, state: TrainState) -> Iterator[None]:
        """Let one step be made within the block, and look at it when its turn has come."""
        turn = self._begun - self.warm_up  # 0: profilers get ready
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
            tokens = state.tokens_seen
            with _profiler() as profiler, record_function(STEP):
                yield
                _wait_for_gpu()
            if turn > 0:
                self._look(profiler, model, state, state.tokens_seen - tokens)

    def _look(
        self,
        profiler: torch.profiler.profile,
        model: BaseLanguageModel,
        state: TrainState,
        tokens: int,
    ) -> None:
        if self._tally is None:
            on_gpu = next(model.parameters()).is_cuda
            self._tally = Tally(_matrices_of_vocabulary(model), on_gpu)
        events: list[Any] = profiler.events()  # type: ignore[no-untyped-call]
        self._tally.add(events)
        self._tokens += tokens
        if self._tally.steps == self.steps:
            self.report = self._reported(self._tally, state.step, self._save(profiler, state.step))
            self.announce(self.report)

    def _save(self, profiler: torch.profiler.profile, step: int) -> Path | None:
        path = self.directory / f"profile-step-{step:08d}.json.gz"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            profiler.export_chrome_trace(str(path))
        except OSError as error:  # the training matters more
            logger.warning("%s: cannot be written (%s)", path, error.strerror)
            return None
        return path

    def _reported(self, tally: Tally, step: int, trace: Path | None) -> ProfileReport:
        phases, operators = tally.costs()
        return ProfileReport(
            last_step=step,
            steps=tally.steps,
            on_gpu=tally.on_gpu,
            seconds=median(self._seconds[-self.steps :]),
            profiled_seconds=tally.total / tally.steps / 1e6,
            tokens=self._tokens / tally.steps,
            phases=phases,
            operators=operators,
            trace=trace,
        )
