"""Examples that fit into memory, as columns of arrays."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.batches.examples import Examples, ExampleSet, Key, Ragged

Array = NDArray[Any] | Ragged


class ArrayExamples(ExampleSet):
    """Examples in memory.

    Args:
        columns: arrays (N, ...) or ragged ones of N arrays, by name.
        units: the count of each example by unit: the name of a ragged column, whose lengths count;
            or an array (N,) of integers.

    Raises:
        ValueError: the columns are empty or differ in length, a column is of objects, or a unit
            names no ragged column.
    """

    def __init__(
        self, columns: Mapping[str, Array], *, units: Mapping[str, str | NDArray[np.int64]]
    ) -> None:
        self.columns = dict(columns)
        self.counts = {unit: _counted(of, self.columns) for unit, of in units.items()}
        self.units = tuple(self.counts)
        everything: dict[str, Array] = {**self.columns, **self.counts}
        lengths = {name: len(column) for name, column in everything.items()}
        if len(set(lengths.values())) != 1 or not self.columns:
            raise ValueError(f"the columns must be of one length, got {lengths}")
        for name, column in everything.items():
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

    @property
    def totals(self) -> dict[str, int]:
        """The total of each unit."""
        return {unit: int(counts.sum()) for unit, counts in self.counts.items()}

    def describe(self) -> str:
        """Return the number of examples and the total of each unit."""
        totals = (f", {total:,} {unit}" for unit, total in self.totals.items())
        noun = "example" if len(self) == 1 else "examples"
        return f"{len(self):,} {noun}" + "".join(totals)


def _parts_of(column: Array) -> Iterator[NDArray[Any]]:
    yield from (column.values, column.bounds) if isinstance(column, Ragged) else (column,)


def _taken(column: Array, indices: NDArray[np.int64]) -> Any:
    return column.take(indices) if isinstance(column, Ragged) else column[indices]


def _counted(of: str | NDArray[np.int64], columns: dict[str, Array]) -> NDArray[np.int64]:
    if not isinstance(of, str):
        return of
    column = columns.get(of)
    if not isinstance(column, Ragged):
        raise ValueError(f"a unit is counted by {of!r}, which is no ragged column")
    return column.lengths
