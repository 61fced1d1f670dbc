"""The command `foundry train`; `commands` registers it."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from model_foundry.cli.output import log_warnings_only, mark_as_report
from model_foundry.cli.shared_options import Config, Debug, Overrides, Plugins, load
from model_foundry.foundation.interrupts import handle_signals

if TYPE_CHECKING:
    from model_foundry.experiment.result import RunResult


def train(
    config: Config,
    overrides: Overrides = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; move an existing run to <dir>.old-N.")
    ] = False,
    extend: Annotated[
        bool, typer.Option("--extend", help="Resume with a raised max_steps or epochs.")
    ] = False,
    no_lock: Annotated[
        bool, typer.Option("--no-lock", help="Do not lock the run directory: use with care.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time of a step goes.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print warnings, errors and the final figures only.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each record as a line of JSON, nothing else.")
    ] = False,
    plugin: Plugins = None,
    debug: Debug = False,
) -> None:
    """Train a model, or resume an interrupted run."""
    if quiet:
        log_warnings_only()
    records = sys.stdout
    with handle_signals(), _results_apart(as_json):  # from before torch is imported
        experiment = load(config, overrides)
        from model_foundry.cli.process import allow_tf32, set_up_process

        set_up_process(experiment.training.speed)  # before torch is imported
        allow_tf32(experiment.training.speed)
        from model_foundry.cli.profile_report import begin_profile
        from model_foundry.experiment.train import train as run

        profiler = begin_profile(experiment, wanted=profile)
        shown = _reporting(quiet, records if as_json else None)
        result = run(
            experiment, fresh=fresh, extend=extend, lock=not no_lock, profile=profiler, **shown
        )
    mark_as_report()
    _print_result(result, plugin, quiet=quiet, as_json=as_json)
    if profiler and not profiler.report:
        message = f"no step was profiled: a profile takes {profiler.steps_needed} steps"
        typer.echo(message, err=as_json)


def _results_apart(as_json: bool) -> AbstractContextManager[Any]:
    """Send what anything prints to standard error, if standard output is for records."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


def _reporting(quiet: bool, records: TextIO | None) -> dict[str, Any]:
    """Return the arguments of `train` that decide how progress is shown."""
    from model_foundry.run_reports.reporters import JsonReporter, silent

    if records is not None:
        return {"make_reporter": lambda view: JsonReporter(records)}
    return {"make_reporter": silent} if quiet else {}


def _print_result(
    result: "RunResult", plugins: Sequence[Path] | None, *, quiet: bool, as_json: bool
) -> None:
    from model_foundry.cli.summary import print_figures, print_summary, result_record
    from model_foundry.foundation.strict_json import strict_json

    if as_json:
        typer.echo(strict_json({"event": "result", **result_record(result)}))
    elif quiet:
        print_figures(result)
    else:
        print_summary(result, plugins)
