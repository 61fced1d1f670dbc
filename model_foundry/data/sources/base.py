"""The interface of sources of text."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_foundry.data.sources.text_batch import TextBatch

Hash = Callable[[Path], str]
"""Returns the SHA-256 of a file in hexadecimal."""


@dataclass(frozen=True)
class Reading:
    """Settings for reading documents from a source, as in `DataConfig`."""

    document: str
    text_column: str
    encoding_errors: str


class Source(ABC):
    """Text that can be read any number of times, and is the same each time."""

    name: str
    """Name in messages."""

    @abstractmethod
    def batches(self) -> Iterator[TextBatch]:
        """Read all documents in order; newlines are `\\n`.

        Raises:
            DataError: the source is missing, damaged, not text, or changes while it is read.
            Interrupted: a signal arrived.
        """

    @abstractmethod
    def cache_key(self, sha256: Hash) -> Any:
        """Return plain data that identifies the documents: equal only for equal documents.

        Args:
            sha256: hashes a file; may use a cache.

        Raises:
            DataError: the source cannot be read.
        """
