"""The `foundry` command: parse, call one function, print, and end with the right exit code.

Exit codes: 0 done; 2 command line or configuration; 3 corpus or tokenizer; 5 the output directory
holds a run; 7 loss or gradient not finite; 8 cannot save; 9 internal failure; 130 interrupted.
"""

import sys
import traceback
from typing import Any

import typer

from model_foundry.cli.commands import app, options
from model_foundry.errors import FoundryError

INTERRUPTED = 130
USAGE_ERROR: Any = typer.BadParameter.__mro__[2]  # ClickException, wherever typer keeps its click


def main() -> None:
    """Run the command line and exit."""
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt  # typer took it, and told nobody
    except FoundryError as error:
        code = _report(error, str(error), error.exit_code)
    except KeyboardInterrupt as error:
        code = _report(error, "interrupted", INTERRUPTED)
    except Exception as error:
        code = _other(error)
    sys.exit(code or 0)


def _other(error: Exception) -> int:
    if isinstance(error, USAGE_ERROR):
        error.show()
        return 2
    if isinstance(error, typer.Abort):
        return _report(error, "interrupted", INTERRUPTED)
    reason = " ".join(str(error).split())
    text = f"internal failure: {type(error).__name__}: {reason}; run again with --debug for details"
    return _report(error, text, FoundryError.exit_code)


def _report(error: BaseException, text: str, code: int) -> int:
    if options.debug:
        traceback.print_exception(error)
    for line in text.splitlines():
        print(f"error: {line}", file=sys.stderr)
    return code
