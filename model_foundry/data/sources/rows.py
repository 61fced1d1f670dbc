"""The text column of rows, shared by all formats: its errors, and the check of its values."""

from collections.abc import Sequence
from typing import Any

from model_foundry.errors import DataError
from model_foundry.foundation.messages import printable, short_repr
from model_foundry.registry import nearest

MOST_SHOWN = 20  # columns


def no_column(where: str, column: str, known: Sequence[str]) -> DataError:
    """Return the error for rows that lack the column `data.text_column`."""
    names = [printable(name) for name in known]
    said = (", ".join(names[:MOST_SHOWN]) or "none") + (", ..." if len(names) > MOST_SHOWN else "")
    meant = nearest(column, names)
    hint = f"; did you mean {meant!r}?" if meant else "; set data.text_column"
    return DataError(f"{where}: has no column data.text_column={column!r}, but {said}{hint}")


def text_of(value: Any, where: str, column: str) -> str:
    """Return the text of a row, with `\\n` for newlines; `where` names it in messages.

    Raises:
        DataError: it is not text, or has a character that no UTF-8 file of text can hold.
    """
    if not isinstance(value, str):
        said = "null" if value is None else f"{short_repr(value)}, not text"
        raise DataError(f"{where}: {column!r} is {said}; leave such rows out or mend them")
    if "\0" in value:
        place = value.index("\0")
        raise DataError(f"{where}: {column!r} has a zero character at {place}; remove it")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            said = f"half a surrogate pair (\\u{ord(value[error.start]):04x}) at {error.start}"
            raise DataError(f"{where}: {column!r} has {said}, which is no character") from error
    return value.replace("\r\n", "\n").replace("\r", "\n") if "\r" in value else value
