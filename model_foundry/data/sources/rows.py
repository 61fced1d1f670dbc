"""Checks and errors of the text column, shared by all formats of rows."""

from collections.abc import Sequence
from typing import Any

from model_foundry.errors import DataError
from model_foundry.foundation.messages import printable, short_repr
from model_foundry.registry import nearest

MOST_SHOWN = 20  # columns


def no_column(where: str, column: str, known: Sequence[str]) -> DataError:
    """Return the error for rows that lack the column `data.text_column`."""
    names = [printable(name) for name in known]
    more = ", ..." if len(names) > MOST_SHOWN else ""
    has = (", ".join(names[:MOST_SHOWN]) or "none") + more
    meant = nearest(column, names)
    hint = f"; did you mean {meant!r}?" if meant else "; set data.text_column"
    return DataError(f"{where}: has no column data.text_column={column!r}, but {has}{hint}")


def column_place(columns: Sequence[str], where: str, column: str) -> int:
    """Return the index of the text column; raise a DataError if there is none or more than one."""
    places = [place for place, name in enumerate(columns) if name == column]
    if not places:
        raise no_column(where, column, columns)
    if len(places) > 1:
        raise DataError(f"{where}: has {len(places)} columns {column!r}; rename all but one")
    return places[0]


def text_of(value: Any, where: str, column: str) -> str:
    """Return the text of a row, with `\\n` for newlines; `where` names it in messages.

    Raises:
        DataError: the value is not text, or has a character that UTF-8 text cannot have.
    """
    if not isinstance(value, str):
        found = "null" if value is None else f"{short_repr(value)}, not text"
        raise DataError(f"{where}: {column!r} is {found}; remove such rows or correct them")
    if "\0" in value:
        place = value.index("\0")
        raise DataError(f"{where}: {column!r} has a zero character at {place}; remove it")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = f"half a surrogate pair (\\u{ord(value[error.start]):04x}) at {error.start}"
            raise DataError(f"{where}: {column!r} has {half}, which is no character") from error
    return value.replace("\r\n", "\n").replace("\r", "\n") if "\r" in value else value
