"""The length of a run in optimizer steps."""

import logging

from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError
from model_foundry.experiment.limits import examples_per_pass, trained_examples
from model_foundry.objectives import Prepared
from model_foundry.training.lr_schedule import steps_of_epochs
from model_foundry.training.milestones import number_of_milestones

logger = logging.getLogger(__name__)

MOST_READS = 1_000  # of the text in one step; more is a mistake, and fills the memory with row keys


def total_steps(config: ExperimentConfig, *, examples: int) -> int:
    """Return the optimizer steps of the whole run.

    Args:
        examples: training examples of one pass.

    Raises:
        ConfigError: the warm-up is longer than the epochs, or the run is shorter than `min_epochs`.
    """
    training = config.training
    if training.epochs is None:
        assert training.max_steps is not None  # a law of the configuration
        _require_min_epochs(config, examples=examples)
        return training.max_steps
    steps = steps_of_epochs(
        training.epochs, blocks=examples, blocks_per_step=training.rows_per_step
    )
    if training.warmup_steps > steps:
        raise ConfigError(
            f"training.warmup_steps: must be <= the {steps} steps of {training.epochs} epochs, "
            f"got {training.warmup_steps}"
        )
    return steps


def steps_per_epoch(config: ExperimentConfig, *, examples: int) -> int:
    """Return the optimizer steps in which each training example is seen once at least.

    Args:
        examples: training examples of one pass.
    """
    return steps_of_epochs(1, blocks=examples, blocks_per_step=config.training.rows_per_step)


def min_steps(config: ExperimentConfig, *, examples: int) -> int:
    """Return the optimizer steps of `min_epochs`, before which a run may not end early; 0: any.

    `RunContext.may_stop` compares them with the steps made.

    Args:
        examples: training examples of one pass.
    """
    training = config.training
    passes, rows = training.min_epochs or 0, training.rows_per_step
    return steps_of_epochs(passes, blocks=examples, blocks_per_step=rows)


def _require_min_epochs(config: ExperimentConfig, *, examples: int) -> None:
    training, needed = config.training, min_steps(config, examples=examples)
    if training.max_steps is not None and needed > training.max_steps:
        raise ConfigError(
            f"training.min_epochs (={training.min_epochs}) needs {needed:,} steps of "
            f"{training.rows_per_step:,} examples, more than training.max_steps "
            f"(={training.max_steps:,}); lower the first or raise the second"
        )


def check_length(config: ExperimentConfig, prepared: Prepared, steps: int) -> None:
    """Warn if no milestone is reached, or if a step reads more examples than there are.

    Raises:
        ConfigError: a step reads the examples more than `MOST_READS` times.
    """
    examples, training = trained_examples(config, prepared), config.training
    passes = steps * training.rows_per_step / len(examples)
    words, tokens = (int(passes * examples.totals.get(unit, 0)) for unit in ("words", "tokens"))
    number = number_of_milestones(
        training.milestones,
        steps=steps,
        words=words,
        tokens=tokens,
        steps_per_epoch=steps_per_epoch(config, examples=examples_per_pass(config, prepared)),
    )
    if training.milestones.has_any and number == 0:
        logger.warning(
            "training.milestones has no effect: the run ends after %s steps, about %s words and "
            "%s tokens",
            *(f"{count:,}" for count in (steps, words, tokens)),
        )
    step, there = training.rows_per_step, len(examples)
    if step > there:
        message = (
            f"training.per_device_train_batch_size x gradient_accumulation_steps (={step:,} "
            f"examples) is more than there are for training ({there:,}): each step reads them "
            f"{step / there:.3g} times; make the batch smaller"
        )
        if step > MOST_READS * there:
            raise ConfigError(message)
        logger.warning("%s", message)
