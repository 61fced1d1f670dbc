"""The profile of a run: which one, and where its files go."""

import logging
from collections.abc import Callable

from model_foundry.config import ExperimentConfig
from model_foundry.config.debug import Profiler
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.training.profiler.function_profile import FunctionProfile
from model_foundry.training.profiler.profile import Profile
from model_foundry.training.profiler.step_profile import Report, StepProfile

logger = logging.getLogger(__name__)


def profile_of(
    config: ExperimentConfig, kind: Profiler, announce: Callable[[Report], None]
) -> StepProfile:
    """Return a profile of a kind, whose files go into the run directory.

    Args:
        announce: called with the report when it is ready.
    """
    directory = RunDirectory(config.output_dir).diagnostics
    if kind == "advanced":
        return FunctionProfile(directory, announce=announce)
    return Profile(directory if kind == "torch" else None, announce=announce)


def asked_profile(config: ExperimentConfig) -> StepProfile | None:
    """Return the profile that `debug.profiler` names, which is logged; None: it names none."""
    kind = config.debug.profiler
    return None if kind is None else profile_of(config, kind, _log)


def _log(report: Report) -> None:
    for line in report.lines():
        logger.info("%s", line)


def warn_if_too_short(profile: StepProfile, *, steps: int) -> None:
    """Warn if a run ends before its profile.

    Args:
        steps: steps that are left.
    """
    if steps < profile.steps_needed:
        logger.warning(
            "a profile takes %d steps, but the run has %d left: none will be profiled",
            *(profile.steps_needed, steps),
        )
