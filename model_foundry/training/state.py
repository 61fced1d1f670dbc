"""The counters of a run. State that must survive a restart is here, in a tensor or in a seed.

The learning rate is not part of it: it is a function of the step.
"""

import math
from dataclasses import dataclass


@dataclass
class TrainState:
    """Counters of a run."""

    step: int = 0
    """Optimizer steps made."""
    last_good_step: int | None = None
    """Step of the newest checkpoint; None before the first."""
    blocks_seen: int = 0
    """Blocks drawn, over all passes and processes: the position in the training order."""
    tokens_seen: int = 0
    """Tokens of text trained on, repeats included; framing and padding are not."""
    words_seen: int = 0
    """Words of text trained on, repeats included."""
    best_loss: float | None = None
    """Lowest validation loss so far, in nats per scored token; None before the first."""
    best_step: int | None = None
    """Step of that evaluation."""
    evaluations_since_best: int = 0
    """Evaluations that did not improve on it."""
    evaluated_step: int | None = None
    """Step of the last evaluation; None before the first."""

    def on_disk(self) -> str:
        """Return the checkpoint from which the run would resume now, as part of a message."""
        if self.last_good_step is None:
            return "there is no checkpoint yet"
        return f"the last checkpoint is step {self.last_good_step}"

    def note_evaluation(self, loss: float) -> None:
        """Record the validation loss of the present step; NaN is never the best.

        A run that stopped after an evaluation makes it again, which must not count twice.
        """
        if self.evaluated_step == self.step:
            return
        self.evaluated_step = self.step
        if math.isfinite(loss) and (self.best_loss is None or loss < self.best_loss):
            self.best_loss, self.best_step = loss, self.step
            self.evaluations_since_best = 0
        else:
            self.evaluations_since_best += 1
