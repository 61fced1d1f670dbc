"""Lists of runs as a table, CSV or JSON."""

import csv
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from model_foundry.foundation.messages import figure_name, printable
from model_foundry.foundation.strict_json import strict_json
from model_foundry.run_reports.figure_texts import value_text
from model_foundry.run_reports.run_row import KEYS, RunRow
from model_foundry.run_reports.text_forms import duration, local_time

COLUMNS = ("run", "state", "step", "best", "loss", "parameters", "seconds", "started")
DISPENSABLE = ("started", "parameters", "seconds", "loss")  # left out first on a narrow terminal
WIDEST = 10_000  # columns
HEADINGS = {"seconds": "time"}
LEFT = ("run", "state", "name", "architecture", "best", "best_metric", "started", "reason")


def fitting_table(rows: Sequence[RunRow], keys: Sequence[str], console: Console) -> Table:
    """Return a table of runs with these keys; without any, with as many as a console has room for.

    Args:
        keys: empty: those of `COLUMNS`.
    """
    if keys:
        return table(rows, keys)
    wide = console.options.update(max_width=WIDEST)
    for left_out in range(len(DISPENSABLE) + 1):
        drawn = table(rows, [key for key in COLUMNS if key not in DISPENSABLE[:left_out]])
        if drawn.__rich_measure__(console, wide).maximum <= console.width:
            break
    return drawn


def table(rows: Iterable[RunRow], columns: Sequence[str] = COLUMNS) -> Table:
    """Return a table of runs, a column for each key."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, key in enumerate(columns):
        drawn.add_column(
            HEADINGS.get(key, key),
            justify="left" if key in LEFT else "right",
            overflow="fold",
            no_wrap=number > 0,
        )
    for row in rows:
        drawn.add_row(*(cell(row, key) for key in columns))
    return drawn


def cell(row: RunRow, key: str) -> str:
    """Return a value of a run as text."""
    value = row.value(key)
    if value is None:
        return "-"
    if key == "step" and (total := row.value("total_steps")):
        return f"{value:,}/{total:,}"
    if key == "best":
        return f"{figure_name(row.value('best_metric'))} {value_text('', float(value))}"
    if key == "seconds":
        return duration(value)
    if key == "started":
        return local_time(value)
    if isinstance(value, float):
        name = key.partition("/")[2]
        return value_text(name, value) if name or key in KEYS else f"{value:g}"
    return f"{value:,}" if type(value) is int else printable(value)


def write_csv(rows: Iterable[RunRow], columns: Sequence[str], stream: TextIO) -> None:
    """Write the values of runs as CSV, with a heading; an unknown value is empty."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row.value(key) for key in columns] for row in rows)


def as_json(rows: Iterable[RunRow], columns: Sequence[str]) -> str:
    """Return the values of runs as a JSON list of objects."""
    records: list[dict[str, Any]] = [{key: row.value(key) for key in columns} for row in rows]
    return strict_json(records, indent=1)
