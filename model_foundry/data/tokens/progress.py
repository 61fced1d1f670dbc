"""Progress of reading a corpus: a live line on a terminal, otherwise a log line now and then."""

import logging
import sys
import time

from rich.console import Console
from rich.progress import Progress as LiveProgress
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from model_foundry.foundation.terminal import can_redraw

logger = logging.getLogger(__name__)

EVERY = 30.0  # seconds between two log lines


class Progress(LiveProgress):
    """Bytes and documents so far, and the speed.

    Args:
        work: a description of the work, such as "tokenizing the train text".
    """

    def __init__(self, work: str) -> None:
        console = Console(stderr=True)
        wanted = logger.isEnabledFor(logging.INFO) and can_redraw(sys.stderr)
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not wanted,
            transient=True,
        )
        self._work = work
        self._started = self._logged = time.monotonic()
        self._task = self.add_task(work, total=None, figures="")

    def show(self, num_bytes: int, documents: int) -> None:
        """Show the totals so far."""
        megabytes, now = num_bytes / 1e6, time.monotonic()
        speed = megabytes / max(now - self._started, 1e-3)
        figures = f"{megabytes:,.1f} MB in {documents:,} documents, {speed:.1f} MB/s"
        self.update(self._task, figures=figures)
        if self.disable and now - self._logged > EVERY:
            self._logged = now
            logger.info("%s: %s", self._work, figures)
