"""Checks and errors of columns and their values, shared by all formats of rows."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.errors import DataError
from model_foundry.foundation.messages import printable, short_repr
from model_foundry.registry import nearest

MOST_SHOWN = 20  # columns


class NoColumnError(DataError):
    """Rows lack a column."""

    facts: tuple[str, str, Sequence[str]]
    """The place of the rows, the column, and the columns that they have."""

    def named(self, setting: str) -> "NoColumnError":
        """Return the same error with the setting that names the column."""
        return no_column(*self.facts, setting=setting)


def no_column(
    where: str, column: str, known: Sequence[str], *, setting: str | None = None
) -> NoColumnError:
    """Return the error for rows that lack a column.

    Args:
        setting: the field of the experiment that names the column; None: no single one.
    """
    names = [printable(name) for name in known]
    more = ", ..." if len(names) > MOST_SHOWN else ""
    has = (", ".join(names[:MOST_SHOWN]) or "none") + more
    meant = nearest(column, names)
    remedy = f"; set {setting}" if setting else "; name one of these"
    hint = f"; did you mean {meant!r}?" if meant else remedy
    named = f"{setting}={column!r}" if setting else repr(column)
    error = NoColumnError(f"{where}: has no column {named}, but {has}{hint}")
    error.facts = where, column, known
    return error


def column_places(known: Sequence[str], where: str, columns: Sequence[str]) -> list[int]:
    """Return the index of each column; raise a DataError if there is none or more than one."""
    for column in columns:
        if column not in known:
            raise no_column(where, column, known)
        if (count := list(known).count(column)) > 1:
            raise DataError(f"{where}: has {count} columns {column!r}; rename all but one")
    return [list(known).index(column) for column in columns]


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


def _is_plain(values: Iterable[Any]) -> bool:
    """Return True if all values are texts that `text_of` returns unchanged."""
    try:
        joined = "".join(values)  # a check of each text alone takes three times as long
        if not joined.isascii():
            joined.encode()
    except (TypeError, UnicodeEncodeError):
        return False
    return "\0" not in joined and "\r" not in joined


def texts_of(
    values: Sequence[Any] | NDArray[Any], where: Callable[[int], str], column: str
) -> list[str]:
    """Return the texts of many rows as `text_of` does, and raise its errors.

    Args:
        where: returns the place of the row with an index, for messages.
    """
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    if _is_plain(plain):
        return list(plain)
    return [text_of(value, where(index), column) for index, value in enumerate(plain)]


def shown(value: Any) -> str:
    """Return a value for a message."""
    return short_repr(value.item() if isinstance(value, np.generic) else value)


def number_of(value: Any) -> float:
    """Return a value as a number; not a number if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal | np.number):
        return nan
    try:
        return float(value)
    except (ValueError, OverflowError, TypeError):  # text, beyond all floats, complex
        return nan
