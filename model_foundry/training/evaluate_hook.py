"""Evaluations between two steps, and what follows from them: the best, and plateaus of the rate."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from model_foundry.architectures import BaseModel
from model_foundry.foundation.failpoints import failpoint
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.training.hooks import FinishedStep, Hook, Training, write
from model_foundry.training.lr_schedule import is_due, learning_rate
from model_foundry.training.metrics_log import MetricsLog
from model_foundry.training.plateau import plateau_settings
from model_foundry.training.state import Best

logger = logging.getLogger(__name__)

Evaluate = Callable[[BaseModel, AbstractContextManager[None]], Mapping[str, float]]


@dataclass
class EvaluateHook(Hook):
    """Measures the model on held-out text every `eval_steps` steps and at the end."""

    evaluate: Evaluate
    """Measures the model, its own weights within the context and an average of them outside it.
    Must not touch global random state."""
    best_metric: tuple[str, bool]
    """The metric by which the best evaluation is chosen, and whether more is better."""
    log: MetricsLog
    observe: Callable[[BaseModel], AbstractContextManager[dict[str, float]]] | None = None
    """Gives a context in which the model's own weights are measured, and figures that are there
    after it; None: nothing looks on."""

    def on_start(self, training: Training) -> None:
        self._evaluate_if_due(training)  # a checkpoint precedes the evaluation of its step

    def after_step(self, training: Training, step: FinishedStep) -> None:
        self._evaluate_if_due(training)

    def _evaluate_if_due(self, training: Training) -> None:
        context, state = training.context, training.context.state
        if not evaluation_is_due(training):
            return
        training.guard.check()
        observed = dict[str, float]()
        with (
            training.stopwatch.paused(),
            blocking_section(f"the evaluation of step {state.step}"),
        ):
            measured = self.evaluate(training.model, self._observing(training.model, observed))
        figures = {f"eval/{name}": value for name, value in measured.items()}
        name, greater_is_better = self.best_metric
        value = figures.get(f"eval/{name}", math.nan)  # undefined on these examples
        counted = state.note_evaluation(
            name,
            value,
            greater_is_better=greater_is_better,
            threshold=context.config.training.early_stopping_threshold,
        )
        if counted:
            self._count_plateau(training, value)
        if figures:  # all may be undefined
            write(training, self.log, {**figures, **observed, **_best_so_far(state.best)})
        failpoint(f"step {state.step} evaluated")

    @contextmanager
    def _observing(self, model: BaseModel, observed: dict[str, float]) -> Iterator[None]:
        """Add the figures of the block to `observed` after it."""
        if self.observe is None:
            yield
            return
        with self.observe(model) as found:
            yield
        observed |= found

    def _count_plateau(self, training: Training, value: float) -> None:
        """Count an evaluation for a schedule that follows them; log a reduction of the rate."""
        context, state = training.context, training.context.state
        config, (name, greater_is_better) = context.config.training, self.best_metric
        section, reductions = plateau_settings(config, state.step), state.plateau.reductions
        if section and state.plateau.count(value, section, greater_is_better=greater_is_better):
            before, after = (
                learning_rate(state.step, config, context.total_steps, reductions=times)
                for times in (reductions, reductions + 1)
            )
            number = section.patience + 1
            logger.info(
                "step %d: %s has not improved on %.4f by more than %g in %d evaluation%s; "
                "learning rate %.3g -> %.3g",
                *(state.step, name, state.plateau.best, section.threshold, number),
                *("s" if number > 1 else "", before, after),
            )


def _best_so_far(best: Best | None) -> dict[str, float]:
    """Return the best evaluation for the log; nothing if none was finite."""
    return {} if best is None else {f"best/{best.metric}": best.value, "best/step": best.step}


def evaluation_is_due(training: Training) -> bool:
    """Return True if the model is evaluated after the present step."""
    context, step = training.context, training.context.state.step
    return step > 0 and is_due(step, context.config.training.eval_steps, context.total_steps)
