"""Named points at which a test can let the process die. In ordinary use, passing one does nothing.

There is no way in from outside: no environment variable, no setting.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_watchers: list[Callable[[str], None]] = []


def failpoint(point: str) -> None:
    """Say that the program has come to `point`."""
    for watcher in _watchers:
        watcher(point)


@contextmanager
def watching(watcher: Callable[[str], None]) -> Iterator[None]:
    """Call `watcher` with the name of every point that is reached within the block."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)
