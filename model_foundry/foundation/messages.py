"""Parts of a message: values, reasons and lines, escaped and of bounded length."""

from typing import Any

LONGEST_LINE = 1_000  # characters; a list of all the keys of a section fits
LONGEST_VALUE = 80  # characters
LONGEST_REASON = 500  # characters


def printable(text: object) -> str:
    """Escape what a terminal would obey or a line would end at, such as a file name may hold."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in f"{text}")


def one_line(text: str) -> str:
    """Escape what could break out of a line or hide a part of it, and shorten what is long."""
    half = LONGEST_LINE // 2 - 2
    if len(text) > LONGEST_LINE:
        text = f"{text[:half]}...{text[-half:]}"  # what is wrong stands at the end
    escaped = printable(text)
    return escaped if len(escaped) <= LONGEST_LINE else f"{escaped[:half]}...{escaped[-half:]}"


def short_repr(value: Any) -> str:
    """Return a value as a message shows it: as YAML writes it, and shortened."""
    text = {None: "null", True: "true", False: "false"}[value] if _is_word(value) else repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def reason_of(error: object) -> str:
    """Return the message of another library's error, on one line of bounded length."""
    return " ".join(f"{error}".split())[:LONGEST_REASON] or type(error).__name__
