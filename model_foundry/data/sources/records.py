"""Records: rows of named columns, as a source yields them, many at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Records:
    """Consecutive rows of a source."""

    columns: dict[str, list[Any] | NDArray[Any]]
    """The values of each column that was asked for, all of one length."""
    source: str
    """Name of the file or data set, for messages."""
    unit: str
    """Name of a row in messages: `line` or `row`."""
    numbers: Sequence[int]
    """Number of each row in its file, from 1."""

    def __len__(self) -> int:
        return len(self.numbers)

    def where(self, index: int) -> str:
        """Return the place of a row, for messages."""
        return f"{self.source}: {self.unit} {self.numbers[index]}"
