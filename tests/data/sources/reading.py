"""Helpers that read files as a source, for the tests of all formats."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from model_foundry.data.sources.base import Reading
from model_foundry.data.sources.files import FileSource, open_files
from model_foundry.errors import DataError
from tests.data.corpora import joined

DEFAULTS = {"document": "file", "text_column": "text", "encoding_errors": "strict"}


def zstandard(raw: bytes) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "zstd") as stream:
        stream.write(raw)
    return bytes(buffer.getvalue())


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstandard,
    ".bz2": bz2.compress,
    ".xz": partial(lzma.compress, preset=0),
}


def source_of(path: Path, **settings: str) -> FileSource:
    """Open a file, a folder or a glob with the default settings, or those given."""
    return open_files(str(path), Reading(**(DEFAULTS | settings)))


def read(path: Path, **settings: str) -> list[str]:
    """Return the whole documents."""
    return joined(source_of(path, **settings).batches())


def write(path: Path, content: bytes | str) -> Path:
    """Write a file without changing line ends, and return its path."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="strict"))
    return path


def refusal(path: Path, **settings: Any) -> str:
    """Return the one-line error of a file that cannot be read, without its folder."""
    with pytest.raises(DataError) as caught:
        read(path, **settings)
    error = str(caught.value)
    assert "\n" not in error
    return error.replace(f"{path.parent}/", "")
