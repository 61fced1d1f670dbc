"""Standard streams that cannot fail: a closed pipe or a full disk ends no command.

A failing print would end a run at any point. The failure is remembered instead, and returned by
`write_failure`.
"""

import os
import select
import sys
from io import BufferedWriter, RawIOBase, TextIOWrapper
from typing import Any

HIGHEST_STANDARD = 2
LENIENT = "backslashreplace"  # not every locale has every character


class _Sink(RawIOBase):
    """A file descriptor whose writes never fail; `failure` is the first error of the system."""

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
            except BlockingIOError:  # another program made the terminal or pipe non-blocking
                select.select([], [self.descriptor], [])
            except OSError as error:
                self.failure = error
        return size


def _fill_closed_descriptors() -> None:
    """Open descriptors closed by `>&-`, or a print would write into the next file opened."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= HIGHEST_STANDARD:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _lenient(stream: Any, original: Any, descriptor: int) -> Any:
    """Return a stream that cannot fail in place of a standard one; any other may fail."""
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
    """Replace standard output and error by streams that cannot fail."""
    _fill_closed_descriptors()
    sys.stdout = _lenient(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _lenient(sys.stderr, sys.__stderr__, 2)


def write_failure(stream: Any) -> OSError | None:
    """Return the first error of writing a stream; None if there was none but a closed pipe."""
    stream.flush()
    buffer = getattr(stream, "buffer", None)
    sink = getattr(buffer, "raw", buffer)
    failure = sink.failure if isinstance(sink, _Sink) else None
    return None if isinstance(failure, BrokenPipeError) else failure
