"""Printing of tables without the spaces that rich puts behind them."""

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def print_trimmed(console: "Console", part: Any) -> None:
    """Print what rich draws; off a terminal, no line ends with spaces."""
    if console.is_terminal:
        console.print(part)
        return
    with console.capture() as captured:
        console.print(part)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())
