"""The learning-rate schedule, and the steps at which something is due: functions of the step."""

import math

from model_foundry.config import TrainingConfig


def learning_rate(step: int, config: TrainingConfig, total_steps: int) -> float:
    """Return the learning rate of the update that follows `step` completed ones.

    It rises linearly over `warmup_steps` updates, the last of which has the peak rate, and then
    falls towards `min_learning_rate`, which it would reach at `total_steps`.
    """
    peak, low, warmup = config.learning_rate, config.min_learning_rate, config.warmup_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    if config.lr_scheduler_type == "constant":
        return peak
    passed = min(1.0, (step - warmup) / max(1, total_steps - warmup))
    if config.lr_scheduler_type == "linear":
        return peak + (low - peak) * passed
    return low + (peak - low) * (1 + math.cos(math.pi * passed)) / 2


def steps_of_epochs(epochs: int, *, blocks: int, blocks_per_step: int) -> int:
    """Return the steps in which each of `blocks` is seen at least `epochs` times."""
    return math.ceil(epochs * blocks / blocks_per_step)


def is_due(step: int, every: int | None, total_steps: int) -> bool:
    """Return True if something done every `every` steps, and at the end, is due after `step`."""
    return step == total_steps or (every is not None and step % every == 0)
