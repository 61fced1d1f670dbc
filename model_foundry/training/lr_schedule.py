"""The learning-rate schedule, and the steps at which something is due: functions of the step.

Others than `built_in_schedules` come with `@register_schedule`.
"""

import math
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from model_foundry.architectures.plugin_check import is_ours, plugin_method
from model_foundry.config import SCHEDULES, ScheduleSpec, TrainingConfig
from model_foundry.errors import ConfigError
from model_foundry.registry import register_in
from model_foundry.training.schedule_point import SchedulePoint

Schedule = TypeVar("Schedule", bound=Callable[..., float])


def register_schedule(
    name: str, *, schema: type[BaseModel] | None = None, settings: tuple[str, ...] = ()
) -> Callable[[Schedule], Schedule]:
    """Register a course of the learning rate after the warm-up: `rate(point, training)`.

    `point` is a `SchedulePoint`, whose `progress` rises from 0 at the end of the warm-up to 1 at
    the end of the run, `training` is the `TrainingConfig`; the function returns the learning rate
    of the next update.

    Args:
        schema: pydantic class of the section `training.<name>`, which is then the third argument;
            None: it has none.
        settings: fields of `training` that only some schedules read, this one among them.

    Raises:
        DuplicateNameError: the name is taken.
        TypeError: it is no function.
    """
    return register_in(SCHEDULES, ScheduleSpec, name, schema=schema, settings=settings)


def learning_rate(
    step: int, config: TrainingConfig, total_steps: int, *, reductions: int = 0
) -> float:
    """Return the learning rate of the update that follows `step` completed ones.

    It rises linearly over `warmup_steps` updates, the last of which has the peak rate, and then
    follows `lr_scheduler_type`, whose end would be reached at `total_steps`.

    Args:
        reductions: plateaus so far, which only some schedules read.

    Raises:
        ConfigError: the schedule of a plugin returns no learning rate.
    """
    warmup = config.warmup_steps
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    point = SchedulePoint(
        step=step - warmup, total_steps=total_steps - warmup, reductions=reductions
    )
    return _rate(point, config)


def try_schedule(config: TrainingConfig) -> None:
    """Ask a schedule of a plugin for the rate at the beginning, in the middle and at the end.

    Raises:
        ConfigError: it raises, or gives no learning rate.
    """
    if not is_ours(SCHEDULES.load(config.lr_scheduler_type)):
        for step in (0, 1, 2):
            _rate(SchedulePoint(step=step, total_steps=2), config)


def _rate(point: SchedulePoint, config: TrainingConfig) -> float:
    name = config.lr_scheduler_type
    section = () if SCHEDULES[name].schema is None else (config.section_of(name),)
    schedule = SCHEDULES.load(name)
    with plugin_method(schedule):
        rate = schedule(point, config, *section)
    if not (isinstance(rate, int | float) and math.isfinite(rate) and rate >= 0):
        law = f"must return a number >= 0, got {rate!r} for a progress of {point.progress:.3g}"
        raise ConfigError(f"training.lr_scheduler_type: the schedule {name!r} {law}")
    return float(rate)


def steps_of_epochs(epochs: int, *, blocks: int, blocks_per_step: int) -> int:
    """Return the steps in which each of `blocks` is seen at least `epochs` times."""
    return math.ceil(epochs * blocks / blocks_per_step)


def is_due(step: int, every: int | None, total_steps: int) -> bool:
    """Return True if something done every `every` steps, and at the end, is due after `step`."""
    return step == total_steps or (every is not None and step % every == 0)
