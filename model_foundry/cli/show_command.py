"""The command `foundry show`; `commands` registers it."""

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model_foundry.cli.shared_options import Debug, argument, path_argument
from model_foundry.cli.tables import print_trimmed, table_console

if TYPE_CHECKING:
    from rich.console import Console

    from model_foundry.run_reports.run_report import RunReader, RunReport

INTERVAL = 0.5  # seconds between two looks at the directory


def show(
    run: Annotated[Path, argument("RUN", "Directory of a run.", path_argument)],
    follow: Annotated[
        bool, typer.Option("--follow", help="Continue to show it until it ends.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; with --follow, a line for each record.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Show the progress, figures and checkpoints of a run."""
    from model_foundry.run_reports.finding_runs import require_run
    from model_foundry.run_reports.run_page import page
    from model_foundry.run_reports.run_report import RunReader

    reader = RunReader(require_run(run))
    report, _ = reader.read(time.time())
    console = table_console()
    if follow and report.is_alive:
        with suppress(KeyboardInterrupt):  # the run goes on, and so does the report on it
            _follow(reader, console, as_json=as_json)
        report, _ = reader.read(time.time())
    if as_json:
        _print_json(report, indent=None if follow else 1)
        return
    for part in page(report):
        print_trimmed(console, part)


def _print_json(report: "RunReport", indent: int | None) -> None:
    from model_foundry.foundation.strict_json import strict_json

    typer.echo(strict_json(report.as_json(time.time()), indent=indent))


def _follow(reader: "RunReader", console: "Console", *, as_json: bool) -> None:
    """Show a run until it ends: on a terminal by a panel, elsewhere by lines."""
    from model_foundry.foundation.terminal import can_redraw
    from model_foundry.run_reports.live_panel import LivePanel
    from model_foundry.run_reports.reporters import JsonReporter, LineReporter
    from model_foundry.run_reports.run_page import panel_of

    report, _ = reader.read(time.time())
    if as_json or not can_redraw(sys.stdout):
        lines: Any = JsonReporter(sys.stdout) if as_json else LineReporter(report.view, console)
        while report.is_alive:
            time.sleep(INTERVAL)
            report, new = reader.read(time.time())
            lines.view = report.view  # another one after a resume
            for line in new:
                lines.record(line)
        return
    panel = panel_of(report)
    with LivePanel(panel, console, refreshes=2, transient=True):
        while report.is_alive:
            time.sleep(INTERVAL)
            report, _ = reader.read(time.time())
            panel.view = report.view
