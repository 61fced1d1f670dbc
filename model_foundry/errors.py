"""The exceptions that end a run, each with the exit code that the command line returns for it.

A message is one line a fault: the field or file, the value, the law it breaks and the remedy.
Anything else that escapes is a defect of ours and leaves with exit code 9.
"""


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


class ResumeError(FoundryError):
    """The output directory holds a run that this command may not continue or overwrite."""

    exit_code = 5


class NonFiniteError(FoundryError, ArithmeticError):
    """The loss or its gradient is NaN or infinite; the update was not made."""

    exit_code = 7


class SaveError(FoundryError, OSError):
    """Something could not be written; what had been committed before is untouched."""

    exit_code = 8
