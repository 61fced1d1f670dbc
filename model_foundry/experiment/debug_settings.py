"""The settings of `debug` that replace others, and those of the process that trains."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.environment_variables import launched

logger = logging.getLogger(__name__)

Choice = tuple[str, object, object, str]
"""Field, the value asked for, the one in force, and the reason."""


def debug_choices(config: ExperimentConfig) -> Iterator[Choice]:
    """Replace settings as `debug` says; yield each that it replaces."""
    training = config.training
    if config.debug.one_process:
        reason = "debug.one_process"
        yield from _set(training, "training", "dataloader_num_workers", 0, reason)
        yield from _set(config.data, "data", "preprocessing_num_workers", 0, reason)
    if not config.debug.regularization:
        reason = "debug.regularization is false"
        yield from _set(training, "training", "weight_decay", 0.0, reason)
        section, place = training.section_of(training.objective), f"training.{training.objective}"
        yield from _set(section, place, "label_smoothing", 0.0, reason)
        section, place = training.section_of(training.optimizer), f"training.{training.optimizer}"
        yield from _set(section, place, "weight_decay", None, reason)  # that of training counts


def _set(section: Any, place: str, name: str, value: object, reason: str) -> Iterator[Choice]:
    """Set a field, if the section has it."""
    if name in getattr(type(section), "model_fields", ()):
        asked = getattr(section, name)
        setattr(section, name, value)
        yield f"{place}.{name}", asked, value, reason


@contextmanager
def debug_process(config: ExperimentConfig) -> Iterator[None]:
    """Log at `debug.log_level` for the length of the block, in a single process if so asked.

    Raises:
        ConfigError: a launcher started several processes, and `debug.one_process` forbids it.
    """
    number = os.environ.get("WORLD_SIZE", "1") if launched() else "1"
    if config.debug.one_process and number != "1":
        raise ConfigError(
            f"debug.one_process: must be false where a launcher starts several processes, here "
            f"{number}; start the command without one"
        )
    package = logging.getLogger("model_foundry")
    before = package.level
    if config.debug.log_level is not None:
        package.setLevel(config.debug.log_level.upper())
    try:
        yield
    finally:
        package.setLevel(before)


def starts_over(config: ExperimentConfig) -> bool:
    """Return True if the same command does not resume a run, but starts it again."""
    return config.debug.start_over or config.training.save_strategy == "no"


def make_room(run: RunDirectory, hold: Callable[[], None]) -> None:
    """Move an earlier run aside; one that was started with `debug.start_over` is deleted then.

    Args:
        hold: locks the run directory, since the lock moves away with the run.
    """
    disposable = run.holds_a_run() and _is_disposable(run)
    if moved := run.move_aside():
        hold()
        if disposable:
            shutil.rmtree(moved)
        else:
            logger.info("the earlier run is now %s", moved)


def _is_disposable(run: RunDirectory) -> bool:
    try:
        return run.config().debug.start_over
    except ConfigError:  # of another version, or damaged
        return False
