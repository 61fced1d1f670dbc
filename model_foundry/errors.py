"""The exceptions that end a run, each with the exit code that the command line returns for it.

A message is one line a fault: the field or file, the value, the law it breaks and the remedy.
Anything else that escapes is a defect of ours and leaves with exit code 9.
"""

from collections.abc import Mapping
from typing import Any

KEYBOARD_EXIT_CODE = 130  # Ctrl-C where there is nothing to save; the shell's own 128 + SIGINT


class FoundryError(Exception):
    """Base of the errors that a user can do something about."""

    exit_code = 9


def exit_code_of(error: BaseException) -> int:
    """Return the exit code for an error; 9 for one that is nobody's mistake but ours."""
    return error.exit_code if isinstance(error, FoundryError) else FoundryError.exit_code


class ConfigError(FoundryError, ValueError):
    """The command line or the experiment file is wrong; nothing was written."""

    exit_code = 2


class DataError(FoundryError, ValueError):
    """The corpus or the tokenizer cannot be used."""

    exit_code = 3


class CheckpointError(FoundryError):
    """The run has no checkpoint that is whole; it is never started again in silence."""

    exit_code = 4


class ResumeError(FoundryError):
    """The output directory holds a run that this command may not continue or overwrite."""

    exit_code = 5


class LockedError(FoundryError):
    """Another process works in the directory."""

    exit_code = 6


class NonFiniteError(FoundryError, ArithmeticError):
    """The loss, its gradient or a weight is NaN or infinite; it reaches no checkpoint.

    Args:
        facts: what is known of the step, for a diagnosis; plain JSON.
    """

    exit_code = 7

    def __init__(self, message: str, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.facts = dict(facts or {})


class SaveError(FoundryError, OSError):
    """Something could not be written; what had been committed before is untouched."""

    exit_code = 8


class WorkerError(FoundryError):
    """A process that prepares batches has died or hangs."""

    exit_code = 9


class MemoryExhaustedError(FoundryError, MemoryError):
    """The memory does not suffice for the model and a batch; smaller settings do."""

    exit_code = 10


# What torch and the libraries below it say when the system gives them no memory.
OUT_OF_MEMORY = (
    *("can't allocate memory", "not enough memory", "out of memory", "bad_alloc"),
    *("could not create a memory", "ALLOC_FAILED"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, as Python, torch or a library below it reports it."""
    if isinstance(error, FoundryError):  # has its message already
        return False
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(said in str(error) for said in OUT_OF_MEMORY)
    )


class Interrupted(FoundryError):
    """A signal asked the run to stop; the same command goes on where it stopped."""

    exit_code = 75
