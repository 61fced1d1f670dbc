"""The output of `foundry train --profile`: where the time of a step goes."""

import logging
from collections.abc import Iterator

import typer

from model_foundry.config import ExperimentConfig
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.messages import printable
from model_foundry.training.profiler.profile import Profile, ProfileReport

logger = logging.getLogger(__name__)

MOST_OPERATORS = 10


def begin_profile(config: ExperimentConfig) -> Profile:
    """Return a profile that prints itself when ready; its trace goes into the run directory."""
    profile = Profile(RunDirectory(config.output_dir).diagnostics, announce=print_profile)
    steps = config.training.max_steps
    if steps is not None and steps < profile.steps_needed:
        logger.warning(
            "--profile takes %d steps, but training.max_steps is %d: none will be profiled",
            *(profile.steps_needed, steps),
        )
    return profile


def print_profile(report: ProfileReport) -> None:
    """Print a profile during training."""
    for line in profile_lines(report):
        typer.echo(line)


def profile_lines(report: ProfileReport) -> Iterator[str]:
    """Yield the lines of a profile: the step, its phases, its costliest operators."""
    first, whole = report.last_step - report.steps + 1, report.profiled_seconds
    yield (
        f"a step takes {_ms(report.seconds)} ms, {report.number / report.seconds:,.0f} "
        f"{report.unit} per second; "
        f"steps {first} to {report.last_step}, under the profiler, {_ms(whole)} ms:"
    )
    device = "of the GPU" if report.on_gpu else "of the processor"
    yield f"{'share':>8}{'ms':>10}  time {device}"
    for cost in report.phases:
        yield f"{cost.seconds / whole:8.1%}{_ms(cost.seconds):>10}  {printable(cost.name)}"
    yield f"{'share':>8}{'ms':>10}{'calls':>8}{'GFLOP/s':>9}  operator"
    for cost in report.operators[:MOST_OPERATORS]:
        rate = f"{cost.flops / cost.seconds / 1e9:,.0f}" if cost.flops else ""
        yield (
            f"{cost.seconds / whole:8.1%}{_ms(cost.seconds):>10}{cost.calls:8,.0f}{rate:>9}  "
            f"{printable(cost.name)}"
        )
    if report.trace is not None:
        yield f"trace of step {report.last_step}, for ui.perfetto.dev: {report.trace}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.2f}"
