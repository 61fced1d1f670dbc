"""The output of a command: its log goes to standard error, its results to standard output."""

import logging
import os
import sys
from dataclasses import dataclass
from typing import TextIO

from model_foundry.cli.standard_streams import write_failure
from model_foundry.errors import SaveError


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`, not to the one of the start."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _LineFormatter(logging.Formatter):
    """Formats the bare message, with its level from warnings on."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return prefix + super().format(record)


def start_logging() -> None:
    """Log this package to standard error, and keep other packages quiet."""
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


def log_warnings_only() -> None:
    """Leave out messages of this package below warnings, whatever level `debug.log_level` sets."""
    for handler in logging.getLogger("model_foundry").handlers:
        handler.setLevel(logging.WARNING)


@dataclass
class _Output:
    is_report: bool = False
    """True if the work is done and saved, and the output only reports on it."""


_output = _Output()


def mark_as_report() -> None:
    """Mark the rest of the output as a report on work that is done and saved."""
    _output.is_report = True


def exit_code_of_output(code: int) -> int:
    """Return the exit code of a command that ended with `code`, once its output is flushed.

    Output that could not be written is reported, and is an error unless the work was done before.
    A closed pipe, as `head` leaves it, is no error.
    """
    failure, only_report = write_failure(sys.stdout), _output.is_report
    _output.is_report = False
    if failure is None:
        return code
    level = "warning" if code or only_report else "error"
    print(f"{level}: standard output: cannot be written ({failure.strerror})", file=sys.stderr)
    return SaveError.exit_code if level == "error" else code
