"""Examples: what a batch is made of, whatever the task.

An example set has a length, is read by keys, and identifies its content by a hash. The order of
training, the division among processes, prefetching and exact resume know nothing else of it.

Letters of shapes: B examples, N entries of a ragged column in all of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.tokens.ranges import Ints, positions

Key = tuple[int, int]  # (pass over the data, index of the example)


@dataclass(frozen=True)
class Ragged:
    """A column of rows that differ in length, joined."""

    values: NDArray[Any]
    """(N, ...)."""
    bounds: Ints
    """(B + 1,) the start of each row, and N."""

    @classmethod
    def of(cls, rows: Sequence[NDArray[Any]]) -> "Ragged":
        """Join rows; none are a column of length 0."""
        lengths = np.array([len(row) for row in rows], np.int64)
        return cls(concatenated(rows), bounds_of(lengths))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return one row, as a view."""
        return self.values[self.bounds[index] : self.bounds[index + 1]]

    @property
    def lengths(self) -> Ints:
        """(B,) entries of each row."""
        return np.diff(self.bounds)

    def take(self, indices: Ints) -> "Ragged":
        """Return some of the rows."""
        lengths = self.lengths[indices]
        values = self.values[positions(self.bounds[:-1][indices], lengths)]
        return Ragged(values, bounds_of(lengths))

    def rows(self) -> list[NDArray[Any]]:
        """Return each row, as a view."""
        return [self.values[part] for part in map(slice, self.bounds[:-1], self.bounds[1:])]


Column = NDArray[Any] | Ragged


def concatenated(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Join arrays (N, ...); empty ones have no say in type and shape, as `np.array([])` is real."""
    full = [array for array in arrays if len(array)] or list(arrays)
    return np.concatenate(full) if full else np.empty(0)


def bounds_of(lengths: Ints) -> Ints:
    """Return the bounds of rows, (B + 1,), given the length of each."""
    return np.append(0, np.cumsum(lengths))


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Some examples: named columns with an entry or a row for each of them."""

    keys: list[Key]
    """(pass, index) of each example."""
    columns: dict[str, Column]
    """Dense arrays (B, ...) and ragged columns, by name."""
    counts: dict[str, int]
    """What the examples hold in all, by unit (tokens, words)."""
    progress: float = 0.0
    """Share of the run that is over: 0 at the first step, 1 at the last one; 0 outside of a run."""

    def __len__(self) -> int:
        return len(self.keys)

    def features(self) -> list[dict[str, Any]]:
        """Return each example as a dictionary, for collators that read single ones."""
        rows = {
            name: column.rows() if isinstance(column, Ragged) else column
            for name, column in self.columns.items()
        }
        return [
            {"example_id": key, **{name: column[place] for name, column in rows.items()}}
            for place, key in enumerate(self.keys)
        ]


class ExampleSet(ABC):
    """The examples of a split.

    Attributes:
        units: what `Examples.counts` counts; the first is that of the speed of training. None: only
            the examples themselves are counted.
    """

    units: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of examples."""

    @abstractmethod
    def read(self, keys: list[Key], *, evaluating: bool = False) -> Examples:
        """Read one or more examples.

        Args:
            evaluating: read the columns that only measurements need, too.
        """

    @property
    @abstractmethod
    def content_sha256(self) -> str:
        """SHA-256 of everything that the examples are made of."""

    @abstractmethod
    def describe(self) -> str:
        """Return the counts of the examples in one line."""

    @property
    def lengths(self) -> Ints | None:
        """Length of each example, (N,), which those of a training step have alike; None: they need
        have none."""
        return None

    @property
    def totals(self) -> dict[str, int]:
        """The counts of all examples, by unit."""
        return {}

    def figures(self) -> dict[str, float]:
        """Return further figures of an evaluation on these examples; none by default."""
        return {}
