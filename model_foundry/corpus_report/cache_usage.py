"""The cache entries of a prepared corpus, and their size on disk."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.foundation.atomic_files import MANIFEST


@dataclass(frozen=True, kw_only=True)
class Place:
    """An entry of the cache."""

    directory: Path
    bytes: int
    """Size of its files."""
    is_new: bool
    """True if it was written after the listing `before`."""


def look_into(cache: Path) -> dict[Path, int]:
    """Return the time at which each entry of a cache was written, in nanoseconds."""
    return {path.parent: path.stat().st_mtime_ns for path in cache.glob(f"*/*/{MANIFEST}")}


def place_of(made: TokenStream | Path, *, before: dict[Path, int]) -> Place:
    """Return the entry of a stream or of a tokenizer's directory.

    Args:
        before: the result of `look_into` before it was prepared.
    """
    if isinstance(made, Path):
        directory = made
    else:
        mapped = made.document_ends.base  # a view of the file
        assert isinstance(mapped, np.memmap) and mapped.filename is not None
        directory = Path(mapped.filename).parent
    size = sum(path.stat().st_size for path in directory.iterdir())
    is_new = (directory / MANIFEST).stat().st_mtime_ns != before.get(directory)
    return Place(directory=directory, bytes=size, is_new=is_new)
