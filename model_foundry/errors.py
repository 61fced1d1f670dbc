"""Exceptions that end a run, each with its exit code.

A message has one line per fault: the field or file, the value, the rule it breaks and the remedy.
Any other exception is a bug of this package and exits with code 9.
"""

from collections.abc import Mapping
from typing import Any

KEYBOARD_EXIT_CODE = 130  # Ctrl-C with nothing to save; 128 + SIGINT, as the shell returns


class FoundryError(Exception):
    """Base of the errors that a user can fix."""

    exit_code = 9


def exit_code_of(error: BaseException) -> int:
    """Return the exit code for an error; 9 for a bug of this package."""
    return error.exit_code if isinstance(error, FoundryError) else FoundryError.exit_code


class ConfigError(FoundryError, ValueError):
    """The command line or the experiment file is wrong; nothing was written."""

    exit_code = 2


class CheckFailedError(FoundryError):
    """The run has ended, and a check that was asked for has failed."""

    exit_code = 1


class DataError(FoundryError, ValueError):
    """The corpus or the tokenizer cannot be used."""

    exit_code = 3


class CheckpointError(FoundryError):
    """The run has no undamaged checkpoint; it is never silently restarted from step 0."""

    exit_code = 4


class ResumeError(FoundryError):
    """The output directory holds a run that this command may not resume or overwrite."""

    exit_code = 5


class LockedError(FoundryError):
    """Another process is using the directory."""

    exit_code = 6


class NonFiniteError(FoundryError, ArithmeticError):
    """The loss, its gradient or a weight is NaN or infinite; it reaches no checkpoint.

    Args:
        facts: data about the step, for a diagnosis; plain JSON.
    """

    exit_code = 7

    def __init__(self, message: str, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.facts = dict(facts or {})


class SaveError(FoundryError, OSError):
    """A file could not be written; what was saved before is intact."""

    exit_code = 8


class WorkerError(FoundryError):
    """Another process of the run has died or hangs."""

    exit_code = 9


class MemoryExhaustedError(FoundryError, MemoryError):
    """Memory ran out for the model and a batch; smaller settings need less."""

    exit_code = 10


# Parts of the messages of torch and the libraries below it when an allocation fails.
OUT_OF_MEMORY = (
    *("can't allocate memory", "not enough memory", "out of memory", "bad_alloc"),
    *("could not create a memory", "ALLOC_FAILED"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if memory ran out, as Python, torch or a library below it reports it."""
    if isinstance(error, FoundryError):  # has its message already
        return False
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(part in str(error) for part in OUT_OF_MEMORY)
    )


class Interrupted(FoundryError):
    """A signal asked the run to stop; the same command resumes it."""

    exit_code = 75
