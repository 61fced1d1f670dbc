"""The `foundry` command: parse the command line, call one function, print, and exit.

Exit codes: 0 done; 1 a check failed; 2 command line or configuration; 3 corpus or tokenizer; 4 no
usable checkpoint; 5 the run was started with different settings; 6 the run directory is in use;
7 loss or gradient not finite; 8 cannot save; 9 a worker died, or an internal error; 10 out of
memory; 75 interrupted, and the same command resumes; 130 and 143 ended at once by a signal.
"""

import atexit
import gc
import sys

from model_foundry.cli.standard_streams import make_streams_lenient
from model_foundry.errors import KEYBOARD_EXIT_CODE

ALLOCATIONS = 10_000  # between two collections of young objects; Python's own: 700


def main() -> None:
    """Run the command line and exit."""
    spare_collections()
    make_streams_lenient()
    try:
        from model_foundry.cli.dispatch import run  # takes 0.1 s, in which Ctrl-C may arrive

        code = run()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        code = KEYBOARD_EXIT_CODE
    sys.exit(code)


def spare_collections() -> None:
    """Let the garbage collector run seldom, and not at exit.

    The libraries make half a million objects that stay: to look through them again and again takes
    0.2 s of the start, and 0.4 s of the exit.
    """
    gc.set_threshold(ALLOCATIONS)
    atexit.register(gc.freeze)
