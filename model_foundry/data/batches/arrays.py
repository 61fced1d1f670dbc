"""Examples that fit into memory, as columns of arrays."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.batches.examples import (
    Column,
    Examples,
    ExampleSet,
    Key,
    Ragged,
    bounds_of,
    concatenated,
)


class ArrayExamples(ExampleSet):
    """Examples in memory.

    Args:
        columns: arrays (N, ...) or ragged ones of N arrays, by name.
        units: the count of each example by unit: the name of a ragged column, whose lengths count;
            or an array (N,) of integers.
        left_out: number of records that are no example, by what left them out.
        grouped_by: ragged columns whose lengths the examples of a training step have alike, the
            first above all.

    Raises:
        ValueError: the columns are empty or differ in length, a column is of objects or has other
            bounds than values, or a unit names no ragged column.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        *,
        units: Mapping[str, str | NDArray[np.int64]],
        left_out: Mapping[str, int] | None = None,
        grouped_by: Sequence[str] = (),
    ) -> None:
        self.columns = dict(columns)
        self.left_out = {by: number for by, number in (left_out or {}).items() if number}
        self.counts = {unit: _counted(of, self.columns) for unit, of in units.items()}
        self.units, self.grouped_by = tuple(self.counts), grouped_by
        everything: dict[str, Column] = {**self.columns, **self.counts}
        _require_one_length(everything if self.columns else {})
        for name, column in everything.items():
            if isinstance(column, Ragged) and column.bounds[-1] != (number := len(column.values)):
                law = f"has {number:,} values, but bounds up to {column.bounds[-1]:,}"
                raise ValueError(f"column {name!r} {law}")
            for array in _parts_of(column):
                if array.dtype.hasobject:
                    raise ValueError(f"column {name!r} holds Python objects, not numbers")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def read(self, keys: list[Key], *, evaluating: bool = False) -> Examples:
        """Read the examples with these keys; the pass makes no difference."""
        indices = np.fromiter((index for _, index in keys), np.int64, count=len(keys))
        return Examples(
            keys=keys,
            columns={name: _taken(column, indices) for name, column in self.columns.items()},
            counts={unit: int(counts[indices].sum()) for unit, counts in self.counts.items()},
        )

    def first(self, number: int) -> "ArrayExamples":
        """Return the first `number` examples, or all if there are fewer."""
        indices = np.arange(min(number, len(self)))
        columns = {name: _taken(column, indices) for name, column in self.columns.items()}
        units = {unit: counts[indices] for unit, counts in self.counts.items()}
        return ArrayExamples(columns, units=units)

    @cached_property
    def content_sha256(self) -> str:
        """SHA-256 of the names, types, shapes and bytes of the columns and counts."""
        digest = hashlib.sha256()
        for kind, arrays in (("column", self.columns), ("unit", self.counts)):
            for name, column in sorted(arrays.items()):
                for array in _parts_of(column):
                    digest.update(repr((kind, name, array.dtype.str, array.shape)).encode())
                    digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @cached_property
    def lengths(self) -> NDArray[np.int64] | None:
        """The rank of each example by the lengths of `grouped_by`, (N,); None: there are none."""
        if not self.grouped_by:
            return None
        lengths = [_counted(name, self.columns) for name in self.grouped_by]
        return np.unique(np.stack(lengths), axis=1, return_inverse=True)[1].reshape(-1)

    @property
    def totals(self) -> dict[str, int]:
        """The total of each unit."""
        return {unit: int(counts.sum()) for unit, counts in self.counts.items()}

    def describe(self) -> str:
        """Return the number of examples, the total of each unit, and what is left out."""
        totals = [f"{total:,} {unit}" for unit, total in self.totals.items()]
        left = [f"{_count(n, 'record')} left out by {by}" for by, n in self.left_out.items()]
        return ", ".join([_count(len(self), "example"), *totals, *left])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)


def _parts_of(column: Column) -> Iterator[NDArray[Any]]:
    yield from (column.values, column.bounds) if isinstance(column, Ragged) else (column,)


def _taken(column: Column, indices: NDArray[np.int64]) -> Any:
    return column.take(indices) if isinstance(column, Ragged) else column[indices]


def _counted(of: str | NDArray[np.int64], columns: dict[str, Column]) -> NDArray[np.int64]:
    if not isinstance(of, str):
        return of
    column = columns.get(of)
    if not isinstance(column, Ragged):
        raise ValueError(f"a unit is counted by {of!r}, which is no ragged column")
    return column.lengths


def _require_one_length(columns: Mapping[str, Column]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"the columns must be of one length, got {lengths}")


def joined(parts: Sequence[Mapping[str, Column]]) -> dict[str, Column]:
    """Return the columns of all parts, one after the other; there is one part at least.

    Raises:
        ValueError: the parts differ in their columns or the kinds of them, or the columns of one
            differ in length.
    """
    for part in parts:
        _require_one_length(part)
        if part.keys() != parts[0].keys():
            some, others = (", ".join(map(repr, each)) for each in (parts[0], part))
            raise ValueError(f"some examples have the columns {some}, others {others}")
    return {name: _joined(name, [part[name] for part in parts]) for name in parts[0]}


def _joined(name: str, parts: Sequence[Column]) -> Column:
    ragged = [part for part in parts if isinstance(part, Ragged)]
    if not ragged:
        return np.concatenate([np.asarray(part) for part in parts])
    if len(ragged) < len(parts):
        raise ValueError(f"column {name!r} is ragged in some examples and dense in others")
    values = concatenated([part.values[part.bounds[0] : part.bounds[-1]] for part in ragged])
    return Ragged(values, bounds_of(np.concatenate([part.lengths for part in ragged])))
