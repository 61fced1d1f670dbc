"""The counters of a run. State that must survive a restart is here, in a tensor or in a seed.

The learning rate is not part of it: it is a function of the step, and of the plateaus so far.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from model_foundry.training.plateau import Plateau


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best evaluation of a run so far."""

    metric: str
    value: float
    step: int


@dataclass
class TrainState:
    """Counters of a run."""

    step: int = 0
    """Optimizer steps made."""
    last_good_step: int | None = None
    """Step of the newest checkpoint; None before the first."""
    examples_seen: int = 0
    """Examples drawn, over all passes and processes: the position in the training order."""
    seen: dict[str, int] = field(default_factory=dict)
    """What was trained on, repeats included, by unit (tokens, words); padding does not count."""
    best: Best | None = None
    """The best evaluation; None before the first."""
    evaluations_since_best: int = 0
    """Evaluations since the last one that improved on the best before it by enough."""
    evaluated_step: int | None = None
    """Step of the last evaluation; None before the first."""
    stop_reason: str | None = None
    """Reason why the run ends before its last step; None: it goes on. A checkpoint does not keep
    it, since it follows from the evaluations."""
    plateau: Plateau = field(default_factory=Plateau)
    """Evaluations as a schedule that follows them counts them."""

    @property
    def position(self) -> tuple[str, int]:
        """The unit of the speed of training, and how much of it was trained on."""
        return next(iter(self.seen.items()), ("examples", self.examples_seen))

    def on_disk(self) -> str:
        """Return the checkpoint from which the run would resume now, as part of a message."""
        if self.last_good_step is None:
            return "there is no checkpoint yet"
        return f"the last checkpoint is step {self.last_good_step}"

    def count(self, examples: int, counts: Mapping[str, int]) -> None:
        """Count a step and what it read."""
        self.step += 1
        self.examples_seen += examples
        for unit, number in counts.items():
            self.seen[unit] = self.seen.get(unit, 0) + number

    def note_evaluation(
        self, metric: str, value: float, *, greater_is_better: bool, threshold: float = 0.0
    ) -> bool:
        """Record the metric of the present step; NaN is never the best.

        Args:
            threshold: an improvement must be greater than this.

        Returns:
            True if it counts: a run that stopped after an evaluation makes it again, which must not
            count twice.
        """
        if self.evaluated_step == self.step:
            return False
        self.evaluated_step = self.step
        sign = -1 if greater_is_better else 1
        before = math.inf if self.best is None else sign * self.best.value
        is_best = math.isfinite(value) and sign * value < before
        if is_best:
            self.best = Best(metric=metric, value=value, step=self.step)
        improves = is_best and before - sign * value > threshold
        self.evaluations_since_best = 0 if improves else self.evaluations_since_best + 1
        return True
