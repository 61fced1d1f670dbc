"""Parts of a message: values, reasons and lines, escaped and of bounded length."""

import math
from typing import Any

LONGEST_LINE = 1_000  # characters; a list of all the keys of a section fits
LONGEST_VALUE = 80  # characters
LONGEST_REASON = 500  # characters
AVERAGED = "ema/"  # before the figures of the average of the weights, as in eval/ema/loss
LARGE = 1e10  # of a figure, which is shown with a power of ten


def printable(text: object) -> str:
    """Escape control characters and line ends, which a file name may contain."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in f"{text}")


def one_line(text: str) -> str:
    """Escape control characters and line ends, and shorten a long line in the middle."""
    half = LONGEST_LINE // 2 - 2
    if len(text) > LONGEST_LINE:
        text = f"{text[:half]}...{text[-half:]}"  # the reason is at the end
    escaped = printable(text)
    return escaped if len(escaped) <= LONGEST_LINE else f"{escaped[:half]}...{escaped[-half:]}"


def short_repr(value: Any) -> str:
    """Return a value for a message: as in YAML, and shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def reason_of(error: object) -> str:
    """Return the message of a library's error, on one line of bounded length."""
    return " ".join(f"{error}".split())[:LONGEST_REASON] or type(error).__name__


def size_of_bytes(number: int) -> str:
    """Return a number of bytes in MB or GB."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"


def figure_name(key: str) -> str:
    """Return the name under which a figure is shown; that of a loss is the key of its setting."""
    if key.startswith(AVERAGED):
        return f"EMA {figure_name(key.removeprefix(AVERAGED))}"
    return key if "/" in key else key.replace("_", " ")


def figure(value: float, decimals: int = 4) -> str:
    """Return a figure with its decimal places, but a large one as `5.6e43`."""
    if LARGE <= abs(value) < math.inf:
        return f"{value:.1e}".replace("e+", "e")
    return f"{value:.{decimals}f}"
