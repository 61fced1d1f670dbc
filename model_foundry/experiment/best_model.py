"""The final model: the weights of the last step, or those of the best evaluation."""

import logging

from model_foundry.architectures import BaseModel
from model_foundry.errors import CheckpointError
from model_foundry.experiment.attempt import Attempt
from model_foundry.foundation.atomic_files import find_damage
from model_foundry.training.checkpoint.save_load import load_average, load_weights
from model_foundry.training.state import Best

logger = logging.getLogger(__name__)


def final_step(best: Best | None, last: int, *, load_best: bool) -> int:
    """Return the step whose weights are the final model.

    Args:
        best: the best evaluation; None: none was finite.
        load_best: `training.load_best_model_at_end`.
    """
    return best.step if load_best and best is not None else last


def load_final_weights(attempt: Attempt, model: BaseModel) -> int:
    """Give a trained model the weights of the best evaluation if the experiment asks for it.

    Returns:
        The step of its weights.

    Raises:
        CheckpointError: the checkpoint of the best evaluation is gone or damaged.
    """
    state, training = attempt.context.state, attempt.context.config.training
    step = final_step(state.best, state.step, load_best=training.load_best_model_at_end)
    if step == state.step:
        return step
    place = attempt.run.checkpoint(step)
    if (damage := find_damage(place)) is not None:
        raise CheckpointError(
            f"{place}: the checkpoint of the best evaluation cannot be used ({damage}); restore "
            "it, or set training.load_best_model_at_end=false for the model of the last step"
        )
    load_weights(place, model)
    if attempt.average is not None:
        load_average(place, attempt.average)
    logger.info("the final model is that of the best evaluation, after step %d", step)
    return step
