"""One command, from its arguments to its exit code, with one line for each error.

Of several processes that a launcher started, only rank 0 prints results; each prefixes its errors
with its rank.
"""

import os
import sys
import traceback
from contextlib import redirect_stdout
from typing import Any

import typer

from model_foundry.cli.commands import app, options
from model_foundry.cli.output import exit_code_of_output
from model_foundry.errors import KEYBOARD_EXIT_CODE, DataError, FoundryError
from model_foundry.foundation.environment_variables import remove_variables
from model_foundry.foundation.messages import printable, reason_of
from model_foundry.foundation.plugins import plugin_errors

PROGRAM = "foundry"  # also under `python -m`; completion asks by this name
USAGE_ERROR: Any = typer.BadParameter.__mro__[2]  # ClickException, wherever typer keeps its click

WORDS_OF_TYPER = {
    "Value error, ": "",
    "Input should be": "must be",
    ". Did you mean": "; did you mean",
}


def run() -> int:
    """Run the command line and return its exit code."""
    remove_variables()  # before anything imports torch
    options.experiment = None
    try:
        code = _run_app()
        if code == KEYBOARD_EXIT_CODE:
            raise KeyboardInterrupt  # typer caught it silently
    except FoundryError as error:
        code = _report(error, str(error), error.exit_code)
    except KeyboardInterrupt as error:
        code = _report(error, "interrupted", KEYBOARD_EXIT_CODE)
    except Exception as error:
        code = _report_other(error)
    return exit_code_of_output(int(code or 0))


def _rank() -> str:
    """Return the rank of this process; '0' if no launcher started it."""
    return os.environ.get("RANK", "0") if "LOCAL_RANK" in os.environ else "0"


def _run_app() -> Any:
    with (
        plugin_errors(),
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        redirect_stdout(sys.stdout if _rank() == "0" else nowhere),
    ):
        return app(prog_name=PROGRAM, standalone_mode=False)


def _report_other(error: Exception) -> int:
    if isinstance(error, USAGE_ERROR):
        if error.format_message().lstrip().startswith("Usage:"):  # no command: the whole help
            error.show()
            return 2
        return _report(error, _usage_fault(error), 2)
    if isinstance(error, typer.Abort):
        return _report(error, "interrupted", KEYBOARD_EXIT_CODE)
    reason = reason_of(error)
    text = f"internal failure: {type(error).__name__}: {reason}; run again with --debug for details"
    return _report(error, text, FoundryError.exit_code)


def _usage_fault(error: Any) -> str:
    """Return what is wrong with the arguments of a command, in one line."""
    text = " ".join(error.format_message().split()).removesuffix(".")
    for theirs, ours in WORDS_OF_TYPER.items():
        text = text.replace(theirs, ours)
    context = getattr(error, "ctx", None)
    remedy = ""
    if context is not None and text[-1:] != "?" and "`" not in text:
        remedy = f"; see {context.command_path} --help"
    return f"{text[:1].lower()}{text[1:]}{remedy}"


def _report(error: BaseException, text: str, code: int) -> int:
    if options.debug:
        traceback.print_exception(error)
    if options.experiment is not None:
        from model_foundry.config.validation import located

        text = located(text, options.experiment.origins)
    # a corpus error is one line: a newline can only be part of a file name
    several = "LOCAL_RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
    prefix = f"rank {_rank()}: " if several else ""
    for line in [text] if isinstance(error, DataError) else text.split("\n"):
        print(f"error: {prefix}{printable(line)}", file=sys.stderr)
    return code
