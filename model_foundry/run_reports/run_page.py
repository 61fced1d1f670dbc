"""The page that `foundry show` prints: the panel, then final figures, attempts and checkpoints."""

import time
from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from model_foundry.foundation.messages import figure_name, printable
from model_foundry.run_reports.figure_texts import UNKNOWN_SHARE, value_text
from model_foundry.run_reports.panel import RunPanel
from model_foundry.run_reports.run_report import RunReport
from model_foundry.run_reports.text_forms import duration, local_time, memory_size


def page(report: RunReport) -> Iterator[Any]:
    """Yield the parts of the page, as rich prints them."""
    yield panel_of(report)
    yield from below_panel(report)


def panel_of(report: RunReport) -> RunPanel:
    """Return the panel of a run."""
    return RunPanel(report.view, footer=printable(report.files.path))


def below_panel(report: RunReport) -> Iterator[Any]:
    """Yield the parts of the page below the panel."""
    if report.status is not None and report.status.reason and not report.is_alive:
        yield Text(f"{report.view.state}: {printable(report.status.reason)}")
    if report.view.state == "killed":
        saved = report.view.saved
        how = "starts again" if saved is None else f"resumes from step {saved:,}"
        yield Text(f"killed: its process is gone; the same command {how}")
    for table in (_figures(report), _attempts(report), _checkpoints(report)):
        if table.row_count:
            yield from ("", table)


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    return table


def _figures(report: RunReport) -> Table:
    table = _table("final figures", "")
    details = {*report.view.facts.details, UNKNOWN_SHARE}
    for key, value in report.final_figures().items():
        kind, _, name = key.partition("/")
        if name not in details and isinstance(value, int | float) and not isinstance(value, bool):
            table.add_row(f"{kind} {figure_name(name)}", value_text(name, value))
    return table


def _attempts(report: RunReport) -> Table:
    table = _table("attempt", "started", "from step", "to step", "took")
    for each in report.attempts(time.time()):
        steps = (f"{each.first_step:,}", f"{each.last_step:,}")
        table.add_row(str(each.number), local_time(each.started), *steps, duration(each.seconds))
    return table


def _checkpoints(report: RunReport) -> Table:
    table = _table("checkpoint", "size", "")
    table.columns[2].justify = "left"
    best = report.view.best and report.view.best[1]
    for each in report.checkpoints():
        notes = ["best"] if each.step == best else []
        notes += [] if each.resumes else ["model only"]
        name = each.path.relative_to(report.files.path)
        table.add_row(str(name), memory_size(each.bytes), ", ".join(notes))
    return table
