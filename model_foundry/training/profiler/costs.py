"""The costs of a step by phase and by operator, from the events of a profiler.

The loop and torch mark the phases; the vocabulary's share of a forward and a backward pass is found
by the shapes of its matrices.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from torch._C._autograd import DeviceType

from model_foundry.training.profiler.phases import MARK, STEP

FORWARD, BACKWARD, OTHER = "forward", "backward", "other"
VOCABULARY: Final = "vocabulary and loss"
IDLE: Final = "waiting for the CPU"
ENGINE: Final = "autograd::engine::evaluate_function: "
OUTSIDE: Final = "(Python, outside of operators)"
# Phases that torch itself marks, by the beginning of the name.
MARKED_BY_TORCH: Final = {
    "Optimizer.": "optimizer",
    ENGINE: BACKWARD,
    "c10d::": "exchange",
    "gloo:": "exchange",
    "nccl:": "exchange",
}
LOSSES: Final = ("loss", "cross_entropy", "crossentropy", "log_softmax")  # in lower case
PRODUCTS: Final = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")  # their FLOPs are known


@dataclass(frozen=True)
class Cost:
    """Average cost of one part of a step."""

    name: str
    seconds: float
    calls: float = 0
    flops: float = 0
    """Floating-point operations of matrix products; 0 for other operators."""


@dataclass
class Tally:
    """Times by phase and operator, in microseconds, added up over the steps.

    Args:
        matrices: shapes of the matrices that map onto the vocabulary.
    """

    matrices: set[tuple[int, ...]]
    on_gpu: bool
    steps: int = 0
    total: float = 0
    phases: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    times: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    flops: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, events: list[Any]) -> None:
        """Add the events of one step.

        On a GPU, kernels count for the operator that launched them, on any thread. On a CPU only
        the thread of the loop counts, on which autograd runs too.
        """
        events = [event for event in events if event.device_type == DeviceType.CPU]
        phases = _phases(events, self.matrices)
        step = next(event for event in events if event.name == STEP)
        self.steps += 1
        self.total += step.cpu_time_total
        for event, at in zip(events, phases, strict=True):
            if not self.on_gpu and event.thread != step.thread:
                continue
            spent = _on_gpu(event) if self.on_gpu else event.self_cpu_time_total
            self.phases[at] += spent
            self._count(event, spent)
        if self.on_gpu:
            busy = sum(spent for name, spent in self.phases.items() if name != IDLE)
            self.phases[IDLE] = max(0.0, self.total - busy)  # streams may overlap

    def _count(self, event: Any, spent: float) -> None:
        name = OUTSIDE if event.name.startswith(MARK) else event.name.rpartition(": ")[2]
        self.times[name] += spent
        self.calls[name] += 1
        if event.name in PRODUCTS:
            self.flops[name] += event.flops

    def costs(self) -> tuple[list[Cost], list[Cost]]:
        """Return phases and operators, the costliest first."""
        n = self.steps
        phases = [Cost(name, spent / n / 1e6) for name, spent in self.phases.items()]
        operators = [
            Cost(name, spent / n / 1e6, self.calls[name] / n, self.flops[name] / n)
            for name, spent in self.times.items()
        ]
        return _costliest(phases), _costliest(operators)


def _costliest(costs: list[Cost]) -> list[Cost]:
    return sorted((c for c in costs if c.seconds > 0), key=lambda c: c.seconds, reverse=True)


def _on_gpu(event: Any) -> float:
    """Return the microseconds of the kernels that an operator launched itself."""
    if event.is_user_annotation:  # their span on the GPU is that of the operators within
        return 0.0
    return float(sum(kernel.duration for kernel in event.kernels))


def _phases(events: list[Any], matrices: set[tuple[int, ...]]) -> list[str]:
    """Return the phase of each event: its own, or that of its caller.

    In a forward pass, what comes after the projection has begun is loss. A backward operator has
    the sequence number of its forward one.
    """
    found: dict[int, str] = {}
    numbers: set[int] = set()
    projecting = False
    for event in sorted(events, key=lambda e: (e.time_range.start, -e.time_range.end)):
        at = _own_phase(event) or found.get(id(event.cpu_parent), OTHER)
        if event.name == MARK + FORWARD:
            projecting = False
        elif at == FORWARD:
            projecting = projecting or _projects(event, matrices)
            if projecting:
                at = VOCABULARY
                numbers.add(event.sequence_nr)
        elif at == BACKWARD and event.name.startswith(ENGINE) and event.sequence_nr in numbers:
            at = VOCABULARY
        found[id(event)] = at
    return [found[id(event)] for event in events]


def _own_phase(event: Any) -> str | None:
    if event.name == STEP:
        return OTHER
    if event.name.startswith(MARK):
        return str(event.name.removeprefix(MARK))
    marks = MARKED_BY_TORCH.items()
    return next((name for mark, name in marks if event.name.startswith(mark)), None)


def _projects(event: Any, matrices: set[tuple[int, ...]]) -> bool:
    """Return True if an operator multiplies by a matrix of the vocabulary, or is a loss."""
    name = event.name.lower()
    if any(loss in name for loss in LOSSES):
        return True
    # the first of its matrices is what is multiplied, and the vector may be a bias
    weights = [tuple(shape) for shape in event.input_shapes if len(shape) > 1][1:]
    multiplies = "linear" in name or "mm" in name
    return multiplies and any(w in matrices or w[::-1] in matrices for w in weights)
