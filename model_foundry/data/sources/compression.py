"""The bytes of a file, unpacked as they are read: what changes, is cut off or explodes is refused.

Gzip, bzip2 and xz are read by the standard library, Zstandard, which it lacks, by pyarrow.
"""

import bz2
import gzip
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from model_foundry.data.sources.fragments import FRAGMENT
from model_foundry.data.sources.paths import require_regular
from model_foundry.errors import DataError
from model_foundry.foundation.messages import printable, reason_of

# Text is packed to a third or a tenth of its size. What unpacks to far more is no corpus.
LARGEST_RATIO = 200
HARMLESS = 2**26  # bytes that may come out of a file of any size
XZ_MEMORY = 2**28  # bytes; `xz -9` needs a quarter of it

Stamp = tuple[int, ...]


def _stamp(status: os.stat_result) -> Stamp:
    ours = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    return tuple(ours)


def _stamp_of(path: Path) -> Stamp | None:
    try:
        return _stamp(path.stat())
    except OSError:
        return None  # it is gone


def _open(path: Path) -> BinaryIO:
    require_regular(path)
    # not to block, should a pipe have taken the file's place this very moment
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise DataError(f"{printable(path)}: is not a regular file; name a text file or a folder")
    return file


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file that must be the same when the block ends.

    Raises:
        DataError: it cannot be read, or has changed; that comes before a fault that was found in
            it, which may be of the writer's making.
    """

    def changed() -> DataError:
        return DataError(
            f"{printable(path)}: changed while it was read; start again once it is whole"
        )

    try:
        with _open(path) as file:
            before = _stamp(os.fstat(file.fileno()))
            try:
                yield file
            except DataError as error:
                if _stamp_of(path) != before:
                    raise changed() from error
                raise
            if _stamp_of(path) != before:
                raise changed()
    except OSError as error:
        reason = error.strerror or reason_of(error)
        raise DataError(f"{printable(path)}: cannot be read ({reason})") from error


class Unpacking:
    """Counts what comes out of a file that is packed in some way."""

    def __init__(self, file: BinaryIO, where: str, remedy: str) -> None:
        self._most = max(HARMLESS, LARGEST_RATIO * os.fstat(file.fileno()).st_size)
        self._where, self._remedy, self._count = where, remedy, 0

    def add(self, size: int) -> None:
        """Note that so many bytes came out.

        Raises:
            DataError: they are more than text can be packed into so few.
        """
        self._count += size
        if self._count > self._most:
            raise DataError(
                f"{self._where}: unpacks to more than {LARGEST_RATIO} times its size, as no text "
                f"does; {self._remedy}"
            )


def _parts_of_plain(file: BinaryIO) -> Iterator[bytes]:
    while raw := file.read(FRAGMENT):
        yield raw


def _parts_of_gzip(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as unpacked:
        while raw := unpacked.read(FRAGMENT):
            yield raw


def _parts_of_zstandard(file: BinaryIO) -> Iterator[bytes]:
    unpacked = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
    while raw := unpacked.read(FRAGMENT):
        yield raw


def _parts_of_members(
    file: BinaryIO, member: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
) -> Iterator[bytes]:
    """Unpack members one after the other; the classes of the library overlook what is no member."""
    raw = file.read(FRAGMENT)
    while raw:
        unpacker = member()
        while not unpacker.eof:
            if unpacker.needs_input and not (raw := raw or file.read(FRAGMENT)):
                raise EOFError("it ends before its end mark")
            yield unpacker.decompress(raw, FRAGMENT)
            raw = b""
        raw = (unpacker.unused_data or file.read(FRAGMENT)).lstrip(b"\0")  # padding is allowed


def _parts_of_bzip2(file: BinaryIO) -> Iterator[bytes]:
    return _parts_of_members(file, bz2.BZ2Decompressor)


def _parts_of_xz(file: BinaryIO) -> Iterator[bytes]:
    return _parts_of_members(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY))


READERS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    ".gz": _parts_of_gzip,
    ".zst": _parts_of_zstandard,
    ".bz2": _parts_of_bzip2,
    ".xz": _parts_of_xz,
}


def unpacked(file: BinaryIO, where: str, compression: str | None) -> Iterator[bytes]:
    """Read the bytes of a file from its beginning, about `FRAGMENT` at once.

    Raises:
        DataError: it is damaged, or unpacks to more than any text would.
    """
    if compression is None:
        yield from _parts_of_plain(file)
        return
    unpacking = Unpacking(file, where, "unpack it, if it is meant so")
    try:
        if not os.fstat(file.fileno()).st_size:
            raise EOFError("it is empty")  # which some of the readers take for a file without text
        for raw in READERS[compression](file):
            unpacking.add(len(raw))
            yield raw
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        reason = f"damaged, cut off or not packed as {compression} ({reason_of(error)})"
        raise DataError(f"{where}: {reason}; copy or download it again") from error
