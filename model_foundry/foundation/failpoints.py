"""Named points at which a test can kill the process; otherwise they do nothing.

No setting and no environment variable activates them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_watchers: list[Callable[[str], None]] = []


def failpoint(point: str) -> None:
    """Report that the program has reached `point`."""
    for watcher in _watchers:
        watcher(point)


@contextmanager
def watching(watcher: Callable[[str], None]) -> Iterator[None]:
    """Call `watcher` with the name of each point reached in the block."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)
