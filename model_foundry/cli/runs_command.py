"""The command `foundry runs`; `commands` registers it."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from model_foundry.cli.shared_options import Debug, argument, path_argument
from model_foundry.cli.tables import print_trimmed, table_console

WIDTH_OF_FILE = 10_000  # columns; no line of a file is folded


def runs(
    directories: Annotated[
        list[Path] | None,
        argument("DIRECTORY", "Directories to look below; by default runs.", path_argument),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPR", help="Condition on a figure or setting: 'eval/loss<3.5'."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="KEY", help="Figure or setting to sort by.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Sort from high to low.")] = False,
    columns: Annotated[
        str | None, typer.Option(metavar="KEY,...", help="Figures and settings to show.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    debug: Debug = False,
) -> None:
    """List runs with their state, figures and settings."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other; give one")
    from model_foundry.run_reports import run_table
    from model_foundry.run_reports.finding_runs import DEFAULT, require_directories, runs_below
    from model_foundry.run_reports.run_row import KEYS, read_row
    from model_foundry.run_reports.run_selection import parse_condition, require_keys, select

    conditions = [parse_condition(text) for text in where or []]
    places = require_directories(directories or [DEFAULT])
    now = time.time()
    rows = [read_row(files, now) for files in runs_below(places)]
    keys = [key.strip() for key in columns.split(",")] if columns else []
    require_keys(rows, keys, "--columns")
    shown = select(rows, conditions, sort=sort, reverse=reverse)
    if as_json:
        typer.echo(run_table.as_json(shown, keys or KEYS))
    elif as_csv:
        run_table.write_csv(shown, keys or KEYS, sys.stdout)
    elif not rows:
        typer.echo(f"no runs below {', '.join(map(str, places))}")
    else:
        console = table_console()
        if not console.is_terminal:
            console.width = WIDTH_OF_FILE
        print_trimmed(console, run_table.fitting_table(shown, keys, console))
        if len(shown) < len(rows):
            typer.echo(f"{len(shown)} of {len(rows)} runs")
        for fault in (row.fault for row in shown if row.fault is not None):
            typer.echo(f"warning: {fault}", err=True)
