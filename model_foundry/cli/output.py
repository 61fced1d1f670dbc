"""Where the words of a command go: its log to the standard error, what it found to the output."""

import logging
import os
import sys
from dataclasses import dataclass
from typing import TextIO

from model_foundry.cli.streams import lost
from model_foundry.errors import SaveError


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


@dataclass
class _Output:
    is_report: bool = False
    """Whether what is printed only reports on something that is done, and stays so."""


_output = _Output()


def reporting() -> None:
    """Say that what is printed from here on reports on something that is done."""
    _output.is_report = True


def exit_code_of_output(code: int) -> int:
    """Return the exit code of a command that has printed all it had to say, and ended with `code`.

    Output that could not be written is told, and is a fault unless it is a mere report. That a
    reader has left, as `head` does, is none.
    """
    failure, only_report = lost(sys.stdout), _output.is_report
    _output.is_report = False
    if failure is None:
        return code
    level = "warning" if code or only_report else "error"
    print(f"{level}: standard output: cannot be written ({failure.strerror})", file=sys.stderr)
    return SaveError.exit_code if level == "error" else code
