"""Printing of tables for people and for files alike."""

import sys
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def table_console() -> "Console":
    """Return a console on standard output that prints text as it is.

    `FORCE_COLOR` does not make a terminal of a file, whose readers would get control characters.
    """
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(highlight=False, markup=False, emoji=False, force_terminal=terminal)


def print_trimmed(console: "Console", part: Any) -> None:
    """Print what rich draws; off a terminal, no line ends with spaces."""
    if console.is_terminal:
        console.print(part)
        return
    with console.capture() as captured:
        console.print(part)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())
