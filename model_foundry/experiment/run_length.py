"""The length of a run: the rows of a pass, and the optimizer steps in all."""

import logging

from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.order import usable_blocks
from model_foundry.errors import ConfigError
from model_foundry.experiment.prepare_data import Prepared
from model_foundry.training.lr_schedule import steps_of_epochs
from model_foundry.training.milestones import number_of_milestones

logger = logging.getLogger(__name__)

MOST_READS = 1_000  # of the text in one step; more is a mistake, and fills the memory with row keys


def rows_of_a_pass(config: ExperimentConfig, rows: int) -> int:
    """Return how many of the training rows one pass reads.

    Raises:
        DataError: there are fewer than a step of streams needs.
    """
    if config.data.packing != "streams":
        return rows
    return usable_blocks(rows, rows_per_step=config.training.rows_per_step)


def total_steps(config: ExperimentConfig, *, rows: int) -> int:
    """Return the optimizer steps of the whole run.

    Args:
        rows: training rows of one pass.

    Raises:
        ConfigError: the warm-up is longer than the epochs.
    """
    training = config.training
    if training.epochs is None:
        assert training.max_steps is not None  # a law of the configuration
        return training.max_steps
    steps = steps_of_epochs(training.epochs, blocks=rows, blocks_per_step=training.rows_per_step)
    if training.warmup_steps > steps:
        raise ConfigError(
            f"training.warmup_steps: must be <= the {steps} steps of {training.epochs} epochs, "
            f"got {training.warmup_steps}"
        )
    return steps


def check_length(config: ExperimentConfig, prepared: Prepared, steps: int) -> None:
    """Warn if no milestone is reached, or if a step reads more rows than the text has.

    Raises:
        ConfigError: a step reads the text more than `MOST_READS` times.
    """
    rows, stream, training = prepared.train, prepared.train.stream, config.training
    passes = steps * training.rows_per_step / len(rows)
    words, tokens = int(passes * stream.words), int(passes * len(stream))
    number = number_of_milestones(training.milestones, steps=steps, words=words, tokens=tokens)
    if training.milestones.has_any and number == 0:
        logger.warning(
            "training.milestones has no effect: the run ends after %s steps, about %s words and "
            "%s tokens",
            *(f"{count:,}" for count in (steps, words, tokens)),
        )
    step, text = training.rows_per_step, len(rows)
    if step > text:
        message = (
            f"training.per_device_train_batch_size x gradient_accumulation_steps (={step:,} rows) "
            f"is more than the training text has ({text:,}): each step reads it {step / text:.3g} "
            "times; make the batch smaller"
        )
        if step > MOST_READS * text:
            raise ConfigError(message)
        logger.warning("%s", message)
