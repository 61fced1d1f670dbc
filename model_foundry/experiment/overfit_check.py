"""The check that a model can learn a few examples by heart.

A model that cannot is broken, or its data or its learning rate are; more data does not help it.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

from model_foundry.config import ExperimentConfig
from model_foundry.errors import CheckFailedError
from model_foundry.training.metrics_log import read_metrics

logger = logging.getLogger(__name__)

LOSS = "train/loss"
STILL_FALLS = 0.02  # share of the loss that is lost in a pass


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
    reached = _mean_of_pass(losses, steps, steps_per_pass)
    found = (
        f"training loss {first:.4g} at step {first_step}, {reached:.4g} in the last pass: "
        f"{reached / first:.1%} of it"
    )
    if reached < share * first:
        logger.info("overfit: %s, below debug.overfit_below (=%s)", found, share)
        return
    before = _mean_of_pass(losses, steps - steps_per_pass, steps_per_pass)
    rate = f"training.learning_rate (={config.training.learning_rate:g})"
    if reached < (1 - STILL_FALLS) * before:
        advice = (
            f"it still fell, from {before:.4g} in the pass before; raise training.epochs or {rate}"
        )
    else:
        advice = (
            f"look at the labels of these examples, at {rate}, and at parts of the model that get "
            "no gradient"
        )
    raise CheckFailedError(
        f"the model did not learn its training examples by heart: {found}, not below "
        f"debug.overfit_below (={share}); {advice}"
    )


def _mean_of_pass(losses: Mapping[int, float], end: int, steps: int) -> float:
    """Return the mean loss of the logged steps in the pass that ends with the step `end`.

    NaN: it has none.
    """
    found = [loss for step, loss in losses.items() if end - steps < step <= end]
    return sum(found) / len(found) if found else math.nan
