"""A panel that is drawn again in its place, also after the terminal has become narrower."""

import sys

from rich.console import Console, ConsoleRenderable
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType

from model_foundry.run_reports.panel import RunPanel


class LivePanel(Live):
    """Draws a panel some times a second in a thread; what is printed meanwhile appears above it.

    Args:
        panel: read at each drawing.
        refreshes: drawings a second; each takes about 1.2 ms of the interpreter.
        transient: erase the panel at the end.
    """

    def __init__(
        self, panel: RunPanel, console: Console, *, refreshes: float, transient: bool = False
    ) -> None:
        super().__init__(
            panel,
            console=console,
            refresh_per_second=refreshes,
            transient=transient,
            # prints into a file or a pipe do not disturb the panel
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )
        self.panel, self._width = panel, 0

    def start(self, refresh: bool = True) -> None:
        """Begin to draw."""
        super().start(refresh)
        # hidden, as rich leaves it, it would stay so after a process that was killed
        self.console.show_cursor(True)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Erase the rows into which a narrower terminal has wrapped the panel, then draw it."""
        width, before = self.console.width, self._width
        self._width = width
        extra = 0
        if 0 < width < before:
            extra = sum((max(0, cells - 1)) // width for cells in self.panel.drawn)
        up = [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * extra
        return [Control(*up), *super().process_renderables(renderables)]
