"""Records: rows of named columns, as a source yields them, many at once.

The columns of a record stay together: it is refused or left out whole, never in one column only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.sources.fragments import FRAGMENT
from model_foundry.data.sources.lists import arrays_of, number_lists_of, text_lists_of
from model_foundry.data.sources.rows import NoColumnError, no_column, number_of, shown, texts_of
from model_foundry.errors import DataError

MOST_ROWS = 512  # at once; more live rows would start the garbage collector
Column = list[Any] | NDArray[Any]
Row = tuple[Any, int, Any]  # place, characters, the row as its format has it
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Records:
    """Consecutive rows of a source.

    Raises:
        DataError: the columns differ in length.
    """

    columns: Mapping[str, Column]
    """The values of each column that was asked for: a list (N), or an array (N, ...)."""
    source: str
    """Name of the file or data set, for messages; empty: `places` name it too."""
    places: Sequence[Any]
    """Place of each row in its source, from 1, (N)."""
    place: str = "row %d"
    """Format of a place in messages."""

    def __post_init__(self) -> None:
        sizes = {name: len(values) for name, values in self.columns.items()}
        if set(sizes.values()) - {len(self.places)}:
            each = ", ".join(f"{name!r} {size:,}" for name, size in sizes.items())
            law = f"columns of unequal length ({each})"
            if len(set(sizes.values())) == 1:
                law = f"columns of another length ({each}) than the {len(self.places):,} rows read"
            raise DataError(f"{self.source}: {law}; give each row a value in every column")

    def __len__(self) -> int:
        return len(self.places)

    def where(self, index: int) -> str:
        """Return the place of a row, for messages."""
        place = self.place % self.places[index]
        return f"{self.source}: {place}" if self.source else place

    def select(self, columns: Sequence[str]) -> "Records":
        """Return these columns of the same rows; raise a DataError for one that there is not."""
        for column in columns:
            if column not in self.columns:
                raise no_column(self.source, column, list(self.columns))
        return replace(self, columns={column: self.columns[column] for column in columns})

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> "Records":
        """Return the rows with these indices, in their order."""
        chosen = indices.tolist() if isinstance(indices, np.ndarray) else list(indices)
        return Records(
            columns={
                name: values[chosen] if isinstance(values, np.ndarray) else _at(values, chosen)
                for name, values in self.columns.items()
            },
            source=self.source,
            places=_at(self.places, chosen),
            place=self.place,
        )

    def complete(self, *columns: str) -> "Records":
        """Leave out the rows with a null or a blank text in any of the columns."""
        chosen = [self.columns[column] for column in columns]
        kept = [
            index
            for index, values in enumerate(zip(*chosen, strict=True))
            if not any(_is_blank(value) for value in values)
        ]
        return self if len(kept) == len(self) or not columns else self.take(kept)

    def texts(self, column: str) -> list[str]:
        """Return the texts of a column, with `\\n` for newlines.

        Raises:
            DataError: a value is not text, is blank, or has a character that text cannot have.
        """
        texts = texts_of(self.columns[column], self.where, column)
        if not all(map(str.strip, texts)):
            index = next(index for index, text in enumerate(texts) if _is_blank(text))
            raise self._fault(index, column, "is blank", "write a text, or remove the row")
        return texts

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Return the numbers of a column, (N,); a text such as "3.5" is read as a number.

        Raises:
            DataError: a value is no finite number.
        """
        values = self.columns[column]
        if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iuf":
            found = values.astype(np.float64)
        else:
            found = np.fromiter(map(number_of, values), np.float64, count=len(values))
        for index in np.flatnonzero(~np.isfinite(found))[:1]:
            law = f"is {shown(values[index])}, not a finite number"
            raise self._fault(index, column, law, "correct it, or remove the row")
        return found

    def labels(self, column: str) -> list[str]:
        """Return the labels of a column: texts as they are, integers and truths as in JSON.

        Raises:
            DataError: a value is blank, or neither a text nor an integer nor a truth.
        """
        values = self.columns[column]
        named = [_label(v) for v in (values.tolist() if isinstance(values, np.ndarray) else values)]
        if None in named:
            law = f"is {shown(values[named.index(None)])}, not a label (a text or an integer)"
            raise self._fault(named.index(None), column, law, "correct it, or remove the row")
        return replace(self, columns={column: named}).texts(column)

    def label_lists(self, column: str) -> list[list[str]]:
        """Return a column of lists of labels, or of texts with commas between labels; see `labels`.

        A row may have none.

        Raises:
            DataError: a row is neither, or an entry is blank, or no text, integer or truth.
        """
        rows = self.columns[column]
        listed = map(_label_list, rows.tolist() if isinstance(rows, np.ndarray) else rows)
        return replace(self, columns={column: list(listed)}).text_lists(column, blank=False)

    def arrays(self, column: str) -> NDArray[np.float64]:
        """Return a column of nested lists of numbers of one shape, such as images: (N, ...).

        Raises:
            DataError: a row is no list, has an entry that is no finite number, or has another shape
                than the first.
        """
        return arrays_of(self.columns[column], self.where, column)

    def number_lists(self, column: str) -> list[NDArray[np.float64]]:
        """Return a column of lists of numbers: an array (L, ...) for each row, for `Ragged.of`.

        L is the length of the list, which may be 0. Entries may be lists of one shape.

        Raises:
            DataError: a row is no list, has an entry that is no finite number, or has entries of
                another shape.
        """
        return number_lists_of(self.columns[column], self.where, column)

    def text_lists(self, column: str, *, blank: bool = True) -> list[list[str]]:
        """Return a column of lists of texts, with `\\n` for newlines; a list may be empty.

        Args:
            blank: False refuses texts that are empty or of white space.

        Raises:
            DataError: a row is no list, an entry is not text, or has a character that text cannot
                have, or is blank and must not be.
        """
        rows = text_lists_of(self.columns[column], self.where, column)
        for index, row in enumerate(() if blank else rows):
            if not all(map(str.strip, row)):
                law = "has a blank entry, which is no word and no label"
                raise self._fault(index, column, law, "correct it, or remove the row")
        return rows

    def _fault(self, index: int, column: str, law: str, remedy: str) -> DataError:
        return DataError(f"{self.where(index)}: {column!r} {law}; {remedy}")


def _at(values: Sequence[T], indices: Sequence[int]) -> list[T]:
    return [values[index] for index in indices]


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _label(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value}" if isinstance(value, str | int) else None


def _label_list(row: Any) -> Any:
    """Return the labels of a row as texts; what is none as it is, for messages."""
    if isinstance(row, str):
        return [part.strip() for part in row.split(",") if part.strip()]
    if not isinstance(row, list):
        return row
    return [value if (label := _label(value)) is None else label for value in row]


def _gathered(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Gather rows; a DataError is raised after the rows before it."""
    fault: DataError | None = None
    while fault is None:
        held: list[Row] = []
        size = 0
        try:
            for row in islice(rows, MOST_ROWS):
                held.append(row)
                size += row[1]
                if size >= FRAGMENT:
                    break
        except DataError as error:
            fault = error
        if not held:
            break
        yield held
    if fault is not None:
        raise fault


def in_batches(
    rows: Iterator[Row],
    columns: Mapping[str, Any],
    *,
    source: str,
    place: str,
    fault_of: Callable[[Any, str], DataError | None] = lambda row, where: None,
) -> Iterator[Records]:
    """Gather rows in records.

    Args:
        columns: the key or index of each column in a row.
        source: see `Records`.
        place: see `Records`.
        fault_of: returns the error of a row without one of the keys, at a place; None: it has all.
    """
    for held in _gathered(rows):
        places, found = [row[0] for row in held], [row[2] for row in held]
        fault = None
        try:
            named = _picked(found, columns)
        except (KeyError, TypeError):
            pairs = zip(found, places, strict=True)
            faults = (fault_of(row, f"{source}: {place % number}") for row, number in pairs)
            index, fault = next((n, fault) for n, fault in enumerate(faults) if fault)
            found, places = found[:index], places[:index]
            named = _picked(found, columns)
        yield Records(columns=named, source=source, places=places, place=place)
        if fault:
            raise fault


def _picked(rows: Sequence[Any], columns: Mapping[str, Any]) -> dict[str, Column]:
    return {name: [row[key] for row in rows] for name, key in columns.items()}


def joined(parts: Sequence[Records]) -> Records:
    """Return the rows of several records with the same columns, one after the other."""
    if len(parts) == 1:
        return parts[0]
    places = [part.where(index) for part in parts for index in range(len(part))]
    names = parts[0].columns
    columns = {name: _joined([part.columns[name] for part in parts]) for name in names}
    return Records(columns=columns, source="", places=places, place="%s")


def _joined(columns: Sequence[Column]) -> Column:
    arrays = [column for column in columns if isinstance(column, np.ndarray)]
    if len(arrays) == len(columns):
        return np.concatenate(arrays)
    lists = (column.tolist() if isinstance(column, np.ndarray) else column for column in columns)
    return [value for column in lists for value in column]


def document_texts(batches: Iterator[Records], column: str) -> Iterator[list[str]]:
    """Yield the texts of a column, each a document, which may be blank.

    Raises:
        DataError: the rows have no such column, or a value is not text.
    """
    try:
        for records in batches:
            yield texts_of(records.columns[column], records.where, column)
    except NoColumnError as error:
        raise error.named("data.text_column") from None
