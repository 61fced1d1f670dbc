"""The output of `foundry train --profile`: where the time of a step goes."""

import typer

from model_foundry.config import ExperimentConfig
from model_foundry.experiment.profiling import profile_of
from model_foundry.training.profiler.step_profile import Report, StepProfile


def begin_profile(config: ExperimentConfig, *, wanted: bool) -> StepProfile | None:
    """Return a profile that prints itself when it is ready; None: no profile is asked for.

    Args:
        wanted: `--profile` is given, which means `torch` unless `debug.profiler` names another.
    """
    kind = config.debug.profiler or ("torch" if wanted else None)
    return None if kind is None else profile_of(config, kind, print_profile)


def print_profile(report: Report) -> None:
    """Print a profile during training."""
    for line in report.lines():
        typer.echo(line)
