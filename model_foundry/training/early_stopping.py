"""Early stopping: a run ends once its evaluations improve no more (Prechelt 1998).

The decision is a function of the evaluations, which checkpoints count, so that a resumed run stops
at the step of an uninterrupted one.
"""

import logging
from dataclasses import dataclass

from model_foundry.foundation.messages import figure, figure_name
from model_foundry.training.hooks import FinishedStep, Hook, Training

logger = logging.getLogger(__name__)


@dataclass
class EarlyStoppingHook(Hook):
    """Ends the run after `patience` evaluations without an improvement; follows `EvaluateHook`."""

    patience: int

    def on_start(self, training: Training) -> None:
        self._decide(training)  # the attempt before may have ended just before its end

    def after_step(self, training: Training, step: FinishedStep) -> None:
        self._decide(training)

    def _decide(self, training: Training) -> None:
        state, total = training.context.state, training.context.total_steps
        if state.evaluated_step != state.step or state.step >= total:
            return
        since = state.evaluations_since_best
        if since < self.patience or not training.context.may_stop:
            return
        best = state.best
        found = "it was never finite"
        if best is not None:
            value = f"{figure_name(best.metric)} {figure(best.value)}"
            found = f"the best is {value} at step {best.step}"
        threshold = training.context.config.training.early_stopping_threshold
        least = f" by more than {threshold:g}" if threshold else ""
        state.stop_reason = (
            f"early stopping at step {state.step} of {total}, after {since} evaluations without an "
            f"improvement{least}; {found}"
        )
        logger.info("%s", state.stop_reason)
