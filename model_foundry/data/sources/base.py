"""The interface of every source of text."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_foundry.config import DataConfig
from model_foundry.data.sources.fragments import Fragment

Hash = Callable[[Path], str]
"""Returns the SHA-256 of a file in hexadecimal."""


@dataclass(frozen=True)
class Reading:
    """The settings by which documents are read from a source, as in `DataConfig`."""

    document: str
    text_column: str
    encoding_errors: str

    @classmethod
    def of(cls, data: DataConfig) -> "Reading":
        """Return the settings of an experiment."""
        return cls(data.document, data.text_column, data.encoding_errors)


class Source(ABC):
    """Text that can be read again and again, and is the same each time."""

    name: str
    """Its name in messages."""

    @abstractmethod
    def fragments(self) -> Iterator[Fragment]:
        """Read every document, in order; newlines are `\\n`.

        Raises:
            DataError: it is missing, damaged, not text, or changes while it is read.
            Interrupted: a signal came.
        """

    @abstractmethod
    def cache_key(self, sha256: Hash) -> Any:
        """Return plain data that identifies its documents: equal only where they are equal.

        Args:
            sha256: hashes a file; may use a cache.

        Raises:
            DataError: it cannot be read.
        """
