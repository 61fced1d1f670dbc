"""The check that a model can learn a few examples by heart.

A model that cannot is broken, or its data or its learning rate are; more data does not help it.
"""

import logging
from pathlib import Path

from model_foundry.config import ExperimentConfig
from model_foundry.errors import CheckFailedError
from model_foundry.training.metrics_log import read_metrics

logger = logging.getLogger(__name__)

LOSS = "train/loss"


def check_overfit(
    config: ExperimentConfig, metrics_file: Path, *, steps: int, steps_per_pass: int
) -> None:
    """Check `debug.overfit_below` on the log of a finished training.

    The mean loss of the last pass counts, of its steps that are in the log.

    Args:
        steps: optimizer steps of the run.

    Raises:
        CheckFailedError: the training loss has not fallen far enough.
    """
    share = config.debug.overfit_below
    if share is None:
        return
    losses = {line["step"]: line[LOSS] for line in read_metrics(metrics_file) if LOSS in line}
    first_step, first = next(iter(losses.items()))
    last = [loss for step, loss in losses.items() if step > steps - steps_per_pass]
    reached = sum(last) / len(last)
    found = (
        f"training loss {first:.4g} at step {first_step}, {reached:.4g} in the last pass: "
        f"{reached / first:.1%} of it"
    )
    if reached < share * first:
        logger.info("overfit: %s, below debug.overfit_below (=%s)", found, share)
        return
    raise CheckFailedError(
        f"the model did not learn its training examples by heart: {found}, not below "
        f"debug.overfit_below (={share}); look at the labels of these examples, at "
        f"training.learning_rate (={config.training.learning_rate:g}), and at parts of the model "
        "that get no gradient; if the loss still falls, raise training.epochs"
    )
