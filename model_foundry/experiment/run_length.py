"""The length of a run: the rows of a step and of a pass, and the steps in all."""

from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.order import usable_blocks
from model_foundry.errors import ConfigError
from model_foundry.training.lr_schedule import steps_of_epochs


def rows_of_a_pass(config: ExperimentConfig, rows: int) -> int:
    """Return how many of the training rows one pass reads.

    Raises:
        DataError: there are fewer than a step of streams needs.
    """
    if config.data.packing != "streams":
        return rows
    return usable_blocks(rows, rows_per_step=config.training.rows_per_step)


def horizon(config: ExperimentConfig, *, blocks: int) -> int:
    """Return the optimizer steps of the whole run.

    Raises:
        ConfigError: the warm-up is longer than the epochs.
    """
    training = config.training
    if training.epochs is None:
        assert training.max_steps is not None  # a law of the configuration
        return training.max_steps
    steps = steps_of_epochs(
        training.epochs, blocks=blocks, blocks_per_step=config.training.rows_per_step
    )
    if training.warmup_steps > steps:
        raise ConfigError(
            f"training.warmup_steps: must be <= the {steps} steps of {training.epochs} epochs, "
            f"got {training.warmup_steps}"
        )
    return steps
