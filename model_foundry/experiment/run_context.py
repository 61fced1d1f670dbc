"""The context of an attempt: its settings, lengths, counters and processes."""

import logging

from accelerate import Accelerator

from model_foundry.config import ExperimentConfig
from model_foundry.experiment.limits import examples_per_pass
from model_foundry.experiment.resume import ResumePoint
from model_foundry.experiment.run_length import min_steps, steps_per_epoch
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.objectives import Prepared
from model_foundry.training.context import RunContext
from model_foundry.training.run_fingerprint import RunFingerprint

logger = logging.getLogger(__name__)


def make_context(
    config: ExperimentConfig,
    prepared: Prepared,
    fingerprint: RunFingerprint,
    *,
    start: ResumePoint,
    accelerator: Accelerator,
    processes: ProcessGroup,
) -> RunContext:
    """Return the context of an attempt; log how several processes divide its steps.

    Raises:
        ConfigError: the global batch cannot be divided evenly.
    """
    examples = examples_per_pass(config, prepared)
    context = RunContext(
        config=config,
        total_steps=fingerprint.total_steps,
        min_steps=min_steps(config, examples=examples),
        steps_per_epoch=steps_per_epoch(config, examples=examples),
        state=start.state(),
        accelerator=accelerator,
        processes=processes,
    )
    if processes.world_size > 1:
        split = context.split
        logger.info(
            "%d processes divide the %d rows of a step; forward passes of each: %d, rows in a "
            "pass: %d",
            *(processes.world_size, config.training.rows_per_step),
            *(split.micro_batches, split.micro_batch),
        )
    return context
