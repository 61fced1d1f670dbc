"""Progress of reading a corpus: a live line on a terminal, otherwise occasional log lines."""

import logging
import time
from types import TracebackType

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

logger = logging.getLogger(__name__)

EVERY = 30.0  # seconds between two lines where there is no terminal


class Progress:
    """Counts bytes and documents while something is done to a text.

    Args:
        what: the work, such as "tokenising the train text".
    """

    def __init__(self, what: str) -> None:
        self.what, self._bytes, self._documents = what, 0, 0
        self._begun = self._told = time.monotonic()
        console = Console(stderr=True)
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._shown = console.is_terminal
        self._task = self._bar.add_task(what, total=None, figures="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, num_bytes: int, *, documents: int) -> None:
        """Count bytes that were done, and say how many documents there are by now."""
        self._bytes += num_bytes
        self._documents = documents
        now = time.monotonic()
        if self._shown:
            self._bar.update(self._task, figures=self._figures(now))
        elif now - self._told > EVERY:
            self._told = now
            logger.info("%s: %s", self.what, self._figures(now))

    def _figures(self, now: float) -> str:
        megabytes = self._bytes / 1e6
        speed = megabytes / max(now - self._begun, 1e-3)
        return f"{megabytes:,.1f} MB in {self._documents:,} documents, {speed:.1f} MB/s"
