"""The bytes of a file, decompressed as they are read; damaged and changing files are refused.

The standard library reads gzip, bzip2 and xz; pyarrow reads Zstandard.
"""

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from model_foundry.data.sources.fragments import FRAGMENT
from model_foundry.data.sources.paths import require_regular
from model_foundry.errors import DataError
from model_foundry.foundation.file_hashes import stat_of
from model_foundry.foundation.messages import printable, reason_of

# Text is compressed to a third or a tenth of its size; a much larger ratio is not text.
LARGEST_RATIO = 200
HARMLESS = 2**26  # bytes that a file of any size may decompress to
XZ_MEMORY = 2**28  # bytes; `xz -9` needs a quarter of it


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file that must not change until the block ends.

    Raises:
        DataError: the file cannot be read, or it has changed. The change is reported rather than a
            DataError raised in the block, which it may have caused.
    """
    require_regular(path)
    fault = None
    try:
        before = stat_of(path)
        with path.open("rb") as file:
            try:
                yield file
            except DataError as error:
                fault = error
        is_same = path.exists() and stat_of(path) == before
    except OSError as error:
        reason = error.strerror or reason_of(error)
        raise DataError(f"{printable(path)}: cannot be read ({reason})") from error
    if not is_same:
        raise DataError(
            f"{printable(path)}: changed while it was read; start again once it is complete"
        ) from fault
    if fault:
        raise fault


class SizeLimit:
    """A limit on the size of decompressed data, relative to the size of its file."""

    def __init__(self, file: BinaryIO, where: str, remedy: str) -> None:
        self._most = max(HARMLESS, LARGEST_RATIO * os.fstat(file.fileno()).st_size)
        self._where, self._remedy, self._count = where, remedy, 0

    def add(self, size: int) -> None:
        """Count decompressed bytes; raise a DataError if they exceed the limit."""
        self._count += size
        if self._count > self._most:
            raise DataError(
                f"{self._where}: unpacks to more than {LARGEST_RATIO} times its size, unlike any "
                f"text; {self._remedy}"
            )


def _parts(file: Any) -> Iterator[bytes]:
    while raw := file.read(FRAGMENT):
        yield raw


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    return _parts(gzip.GzipFile(fileobj=file))


def _zstandard(file: BinaryIO) -> Iterator[bytes]:
    return _parts(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"))


def _members(
    member: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor], file: BinaryIO
) -> Iterator[bytes]:
    """Decompress concatenated members; the library's file classes ignore data behind them."""
    raw = file.read(FRAGMENT)
    while raw:
        unpacker = member()
        while not unpacker.eof:
            if unpacker.needs_input and not (raw := raw or file.read(FRAGMENT)):
                raise EOFError("it ends before its end mark")
            yield unpacker.decompress(raw, FRAGMENT)
            raw = b""
        raw = (unpacker.unused_data or file.read(FRAGMENT)).lstrip(b"\0")  # padding is allowed


READERS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    ".gz": _gzip,
    ".zst": _zstandard,
    ".bz2": partial(_members, bz2.BZ2Decompressor),
    ".xz": partial(_members, partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, XZ_MEMORY)),
}


def unpacked(file: BinaryIO, where: str, compression: str | None) -> Iterator[bytes]:
    """Read a file, decompressed, in parts of about `FRAGMENT` bytes.

    Raises:
        DataError: the file is damaged, or decompresses to more than any text.
    """
    if compression is None:
        yield from _parts(file)
        return
    limit = SizeLimit(file, where, "unpack it if this is intended")
    try:
        if not os.fstat(file.fileno()).st_size:
            raise EOFError("it is empty")  # some readers would return an empty text
        for raw in READERS[compression](file):
            limit.add(len(raw))
            yield raw
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        reason = f"damaged, cut off or not packed as {compression} ({reason_of(error)})"
        raise DataError(f"{where}: {reason}; copy or download it again") from error
