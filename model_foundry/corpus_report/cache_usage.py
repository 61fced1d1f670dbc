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
    """Of its files."""
    is_new: bool
    """True if it is newer than the listing that it is compared with."""


def look_into(cache: Path) -> dict[Path, int]:
    """Return when each entry of a cache was made, in nanoseconds."""
    return {path.parent: path.stat().st_mtime_ns for path in cache.glob(f"*/*/{MANIFEST}")}


def place_of(made: TokenStream | Path, *, before: dict[Path, int]) -> Place:
    """Return the entry of a stream or of a tokenizer's directory.

    Args:
        before: what `look_into` returned before it was prepared.
    """
    directory = made if isinstance(made, Path) else _directory_of(made)
    files = [path.stat() for path in directory.iterdir()]
    new = (directory / MANIFEST).stat().st_mtime_ns != before.get(directory)
    return Place(directory=directory, bytes=sum(file.st_size for file in files), is_new=new)


def _directory_of(stream: TokenStream) -> Path:
    mapped = stream.document_ends.base  # a view of the file
    assert isinstance(mapped, np.memmap) and mapped.filename is not None
    return Path(mapped.filename).parent
