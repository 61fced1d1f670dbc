"""Standard streams that cannot fail: a reader that is gone or a full disk ends no command.

A print that fails would end a run wherever it happens to be. What could not be written is
remembered instead, and told by `lost`.
"""

import os
import select
import sys
from io import BufferedWriter, RawIOBase, TextIOWrapper
from typing import Any

HIGHEST_STANDARD = 2
LENIENT = "backslashreplace"  # not every locale has every character


class _Sink(RawIOBase):
    """A file descriptor that takes everything; `failure` is the first error of the system's."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        while left and self.failure is None:
            try:
                left = left[os.write(self.descriptor, left) :]
            except BlockingIOError:  # another program has made the terminal or pipe so
                select.select([], [self.descriptor], [])
            except OSError as error:
                self.failure = error
        return size


def _fill_closed_descriptors() -> None:
    """Open what was closed, as `>&-` does, or the next file would be written to by a print."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= HIGHEST_STANDARD:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _lenient(stream: Any, original: Any, descriptor: int) -> Any:
    """Return a stream that cannot fail in place of one of the process; others may fail."""
    if stream is not original or not (stream is None or isinstance(stream, TextIOWrapper)):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=LENIENT)
        return stream
    unbuffered = stream is not None and stream.write_through  # by PYTHONUNBUFFERED
    sink = _Sink(descriptor)
    return TextIOWrapper(
        sink if unbuffered else BufferedWriter(sink),  # as Python does
        encoding="utf-8" if stream is None else stream.encoding,
        errors=LENIENT,
        line_buffering=descriptor == HIGHEST_STANDARD or os.isatty(descriptor),
        write_through=unbuffered,
    )


def make_streams_lenient() -> None:
    """Put streams that cannot fail in the place of the standard output and error."""
    _fill_closed_descriptors()
    sys.stdout = _lenient(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _lenient(sys.stderr, sys.__stderr__, 2)


def lost(stream: Any) -> OSError | None:
    """Return why something of a stream was not written; None: all was, or its reader has gone."""
    stream.flush()
    buffer = getattr(stream, "buffer", None)
    sink = getattr(buffer, "raw", buffer)
    failure = sink.failure if isinstance(sink, _Sink) else None
    return None if isinstance(failure, BrokenPipeError) else failure
