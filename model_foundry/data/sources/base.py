"""The interface of sources of text and records."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_foundry.data.sources.paths import KINDS, NAMED_ONLY
from model_foundry.data.sources.records import Records
from model_foundry.data.sources.text_batch import TextBatch
from model_foundry.errors import DataError

Hash = Callable[[Path], str]
"""Returns the SHA-256 of a file in hexadecimal."""


@dataclass(frozen=True)
class Reading:
    """Settings for reading documents from a source, as in `DataConfig`."""

    document: str
    text_column: str
    encoding_errors: str


def no_columns(where: str, columns: Sequence[str]) -> DataError:
    """Return the error for a source of text that is asked for columns."""
    kinds = ", ".join(suffix for suffix in KINDS | NAMED_ONLY if suffix != ".txt")
    remedy = f"name a file with columns ({kinds}), a folder of images or a data set"
    asked = ", ".join(map(repr, columns))
    return DataError(f"{where}: is read as text without columns, so it has no {asked}; {remedy}")


class Source(ABC):
    """Text, records or both, which can be read any number of times and are the same each time.

    Args:
        name: name in messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def batches(self) -> Iterator[TextBatch]:
        """Read all documents in order; newlines are `\\n`.

        Raises:
            DataError: the source has no text, is missing, damaged, or changes while it is read.
            Interrupted: a signal arrived.
        """
        raise DataError(
            f"{self.name}: holds records without text; name a source of text, or an objective that "
            "reads records"
        )

    def records(self, columns: Sequence[str]) -> Iterator[Records]:
        """Read these columns of all rows in order, in batches.

        Raises:
            DataError: the source has no such columns, is missing, damaged, or changes while it is
                read.
            Interrupted: a signal arrived.
        """
        raise no_columns(self.name, columns)

    @abstractmethod
    def cache_key(self, sha256: Hash) -> Any:
        """Return plain data that identifies the content: equal only for equal content.

        Args:
            sha256: hashes a file; may use a cache.

        Raises:
            DataError: the source cannot be read.
        """
