"""Early stopping: a run ends once its evaluations improve no more (Prechelt 1998).

The decision is a function of the evaluations, which checkpoints count, so that a resumed run stops
at the step of an uninterrupted one.
"""

import logging
from dataclasses import dataclass

from model_foundry.foundation.messages import figure, figure_name
from model_foundry.training.context import RunContext
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
        context, state = training.context, training.context.state
        is_evaluated = state.evaluated_step == state.step
        if not is_evaluated or not context.may_stop or state.step >= context.total_steps:
            return
        if state.evaluations_since_best >= self.patience:
            state.stop_reason = _reason(context)
            logger.info("%s", state.stop_reason)


def _reason(context: RunContext) -> str:
    state, best = context.state, context.state.best
    found = "it was never finite"
    if best is not None:
        value = f"{figure_name(best.metric)} {figure(best.value)}"
        found = f"the best is {value} at step {best.step}"
    threshold = context.config.training.early_stopping_threshold
    least = f" by more than {threshold:g}" if threshold else ""
    since = state.evaluations_since_best
    return (
        f"early stopping at step {state.step} of {context.total_steps}, after {since} "
        f"evaluation{'s' if since > 1 else ''} without an improvement{least}; {found}"
    )
