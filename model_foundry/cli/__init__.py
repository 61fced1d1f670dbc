"""The `foundry` command: parse, call one function, print, and end with the right exit code.

Exit codes: 0 done; 1 a check said no; 2 command line or configuration; 3 corpus or tokenizer; 4 no
usable checkpoint; 5 the run is another one; 6 the run directory is in use; 7 loss or gradient not
finite; 8 cannot save; 9 a worker died, or internal failure; 10 out of memory; 75 interrupted, run
the same command again to continue; 130 and 143 stopped at once by a repeated signal.
"""

import sys

from model_foundry.cli.streams import make_streams_lenient
from model_foundry.errors import KEYBOARD_EXIT_CODE


def main() -> None:
    """Run the command line and exit."""
    make_streams_lenient()
    try:
        from model_foundry.cli.dispatch import run  # a tenth of a second, in which a key may come

        code = run()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        code = KEYBOARD_EXIT_CODE
    sys.exit(code)
