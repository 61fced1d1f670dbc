"""Columns whose rows are lists: nested numbers as arrays, and texts."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.sources.rows import number_of, shown, texts_of
from model_foundry.errors import DataError

NUMBERS = (int, float, Decimal, np.integer, np.floating)
Where = Callable[[int], str]
"""Returns the place of the row with an index, for messages."""


def arrays_of(rows: Iterable[Any], where: Where, column: str) -> NDArray[np.float64]:
    """Return nested lists of numbers of one shape as an array, (N, ...)."""
    found = [_number_array(row, where(n), column) for n, row in enumerate(rows)]
    _require_one(dict(enumerate(row.shape for row in found)), "the shape", where, column)
    return np.array(found, np.float64)


def number_lists_of(rows: Iterable[Any], where: Where, column: str) -> list[NDArray[np.float64]]:
    """Return nested lists of numbers as an array (L, ...) for each row; L may differ."""
    found = [_number_array(row, where(n), column) for n, row in enumerate(rows)]
    shapes = {n: row.shape[1:] for n, row in enumerate(found) if len(row)}
    _require_one(shapes, "entries of the shape", where, column)
    return found


def text_lists_of(rows: Iterable[Any], where: Where, column: str) -> list[list[str]]:
    """Return lists of texts; see `texts_of`."""
    lists = [_require_list(row, "texts", where(n), column) for n, row in enumerate(rows)]
    bounds = np.cumsum([0, *map(len, lists)]).tolist()

    def place(entry: int) -> str:
        row = bisect_right(bounds, entry) - 1
        return f"{where(row)}: entry {entry - bounds[row] + 1}"

    texts = texts_of([text for row in lists for text in row], place, column)
    return [texts[start:end] for start, end in pairwise(bounds)]


def _refusal(where: str, column: str, law: str) -> DataError:
    return DataError(f"{where}: {column!r} {law}; correct it, or remove the row")


def _require_list(row: Any, what: str, where: str, column: str) -> Any:
    if isinstance(row, list) or (isinstance(row, np.ndarray) and row.ndim):
        return row
    raise _refusal(where, column, f"is {shown(row)}, not a list of {what}")


def _require_one(
    shapes: Mapping[int, tuple[int, ...]], noun: str, where: Where, column: str
) -> None:
    """Require that the shapes, by the index of the row, are equal."""
    for index, shape in shapes.items():
        first, expected = next(iter(shapes.items()))
        if shape != expected:
            law = f"has {noun} {shape}, unlike the {expected} of {where(first)}"
            raise _refusal(where(index), column, law)


def _number_array(row: Any, where: str, column: str) -> NDArray[np.float64]:
    """Return a row as an array; texts and truths are no numbers, although NumPy converts them."""
    listed = _require_list(row, "numbers", where, column)
    if all(kind is not bool and issubclass(kind, NUMBERS) for kind in _kinds(listed)):
        try:
            found = np.array(listed, np.float64)
        except (ValueError, OverflowError):  # of unequal length, beyond all floats
            pass
        else:
            if np.isfinite(found).all():
                return found
    for entry in _entries(listed):
        if isinstance(entry, str) or not isfinite(number_of(entry)):
            law = f"has the entry {shown(entry)}, which is no finite number"
            raise _refusal(where, column, law)
    raise _refusal(where, column, f"is {shown(row)}, whose lists differ in shape")


def _kinds(row: Any) -> set[type]:
    """Return the types of the entries of nested lists; `map` is fast enough for images."""
    if isinstance(row, np.ndarray):
        return {row.dtype.type}
    kinds = set(map(type, row))
    return set().union(*map(_kinds, row)) if kinds and kinds <= {list, np.ndarray} else kinds


def _entries(row: Any) -> Iterator[Any]:
    """Yield the innermost entries of nested lists."""
    for entry in row:
        yield from _entries(entry) if isinstance(entry, list | np.ndarray) else (entry,)
