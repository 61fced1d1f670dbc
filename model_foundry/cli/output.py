"""Where the words of a command go: its log to the standard error, what it found to the output."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TextIO


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what is the standard error stream now, not to what it was at the start."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _LineFormatter(logging.Formatter):
    """The bare message, named as a warning where it is one."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return prefix + super().format(record)


def start_logging() -> None:
    """Write what this package logs to the standard error, and keep other packages from it."""
    handler = _StderrHandler()
    handler.setFormatter(_LineFormatter())
    logger = logging.getLogger("model_foundry")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # Read when transformers is imported, and when torch first profiles; their hints and bars would
    # break into the progress. Kineto's levels end at 5.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")


@contextmanager
def printing() -> Iterator[None]:
    """Print what a command has come to, though the reader be gone or its disk full: it is done."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal has every character
    try:
        yield
        sys.stdout.flush()
    except (OSError, SystemExit):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
