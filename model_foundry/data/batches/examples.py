"""The interface of sets of examples, and the columns in which they are read."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.tokens.ranges import positions

Key = tuple[int, int]
"""(pass over the data, index of the example)."""
S = TypeVar("S", bound=np.generic)


@dataclass(frozen=True)
class Ragged:
    """B arrays of different lengths, joined."""

    values: NDArray[Any]
    """The values of all arrays, (N,)."""
    bounds: NDArray[np.int64]
    """The start of each array in `values`, and the end of the last one, (B + 1,)."""

    @classmethod
    def of(cls, arrays: Sequence[NDArray[Any]]) -> "Ragged":
        """Join arrays (N_i,) of one type; there must be at least one."""
        bounds = np.zeros(len(arrays) + 1, dtype=np.int64)
        np.cumsum([len(array) for array in arrays], out=bounds[1:])
        return cls(np.concatenate(arrays), bounds)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, index: int) -> NDArray[Any]:
        return self.values[self.bounds[index] : self.bounds[index + 1]]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """The length of each array, (B,)."""
        return np.diff(self.bounds)

    def take(self, indices: NDArray[np.int64]) -> "Ragged":
        """Return the arrays with these indices, in their order."""
        starts = self.bounds[:-1][indices]
        sizes = self.bounds[1:][indices] - starts
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        return Ragged(self.values[positions(starts, sizes)], bounds)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Examples that are read together."""

    keys: list[Key]
    """The key of each example, (B)."""
    columns: dict[str, NDArray[Any] | Ragged]
    """Arrays (B, ...) or ragged ones of B arrays."""
    counts: dict[str, int]
    """Counts by unit, such as tokens, over these examples."""


class ExampleSet(ABC):
    """Examples that training and evaluation read by keys."""

    units: tuple[str, ...]
    """The units of `Examples.counts`."""
    content_sha256: str
    """SHA-256 of the examples in hexadecimal."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of examples."""

    @abstractmethod
    def read(self, keys: list[Key], *, evaluating: bool = False) -> Examples:
        """Read the examples with these keys.

        Args:
            evaluating: read what only an evaluation needs, too.
        """

    @abstractmethod
    def describe(self) -> str:
        """Return the numbers of examples and units, on one line."""

    def figures(self) -> dict[str, float]:
        """Return further figures of an evaluation, by name."""
        return {}
