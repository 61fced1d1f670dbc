"""Preparation of steps, once, before the documents are read."""

from collections.abc import Sequence

from model_foundry.config import InterventionStep
from model_foundry.errors import ConfigError
from model_foundry.interventions.registration import intervention, parse_settings


def prepare_steps(steps: Sequence[InterventionStep], *, writes: bool = True) -> None:
    """Prepare each step that asks for it.

    Args:
        writes: False: only check, and write and run nothing.

    Raises:
        ConfigError: with one line for each step that cannot be run.
        SaveError: something cannot be written.
    """
    faults = []
    for position, step in enumerate(steps):
        prepare, field = intervention(step.step).prepare, f"data.interventions.{position}"
        if prepare is None:
            continue
        settings = parse_settings(step.step, step.settings, field)
        try:
            prepare(settings, writes=writes)
        except ConfigError as error:
            faults.append(f"{field}.{error}")
    if faults:
        raise ConfigError("\n".join(faults))
