"""Terminals, on which what was drawn can be drawn again."""

import os
from typing import Any

DUMB = ("dumb", "unknown")  # values of TERM of terminals without cursor movement


def can_redraw(stream: Any) -> bool:
    """Return True if a stream is a terminal with a cursor; False for files, pipes and None.

    `FORCE_COLOR`, which CI systems set, does not make a terminal of a file.
    """
    if stream is None or os.environ.get("TERM", "").lower() in DUMB:
        return False
    try:
        return bool(stream.isatty())
    except ValueError:  # it is closed
        return False
