"""The modules of a model and the tensors of its first steps, in the log at level `debug`."""

import logging

from torch import Tensor

from model_foundry.training.hooks import FinishedStep, Hook, Training

logger = logging.getLogger(__name__)

STEPS = 3  # of an attempt; the later ones are alike
MOST_EXAMPLES = 8  # named in a line


class DebugLogHook(Hook):
    """Logs the modules of the model, and the tensors of the first steps."""

    def __init__(self) -> None:
        self._logged = 0

    def on_start(self, training: Training) -> None:
        logger.debug("%s", training.model)

    def after_step(self, training: Training, step: FinishedStep) -> None:
        if self._logged >= STEPS or not logger.isEnabledFor(logging.DEBUG):
            return
        self._logged += 1
        for batch in step.batch.micro_batches:
            tensors = (f"{name} {_described(value)}" for name, value in batch.inputs.items())
            numbers = [str(index) for _, index in batch.keys]
            more = f" and {len(numbers) - MOST_EXAMPLES} more" * (len(numbers) > MOST_EXAMPLES)
            logger.debug(
                "step %d reads %s, of the examples %s%s",
                training.context.state.step,
                ", ".join(tensors),
                ", ".join(numbers[:MOST_EXAMPLES]),
                more,
            )
        if step.result is not None:
            logger.debug(
                "step %d: loss %.4g, gradient norm %.4g, learning rate %.3g",
                *(training.context.state.step, step.result.loss, step.result.grad_norm),
                step.learning_rate,
            )


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
