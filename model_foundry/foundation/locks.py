"""One process at a time: advisory locks (flock) that the system frees when a process dies.

The file of a lock tells who holds it; it is written for people, and never decides anything.
"""

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from model_foundry.errors import LockedError, SaveError
from model_foundry.foundation.interrupts import check_interrupt

logger = logging.getLogger(__name__)

PATIENCE = 0.2  # seconds between two looks at a lock that is waited for

_held: set[int] = set()


class NoLocksError(SaveError):
    """The file system knows no locks."""


def _close_in_child() -> None:
    """Let a forked process hold no lock: it may outlive the one that took it."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def exclusive(path: Path, *, wait: bool = False) -> Iterator[Callable[[], bool]]:
    """Hold the lock of the file `path`, which is made where it does not exist.

    Args:
        wait: for whoever holds it now; if not, a held lock is an error.

    Yields:
        Whether the file that is held is still the one at `path`: directories can be moved.

    Raises:
        LockedError: another process, or this one, holds the lock.
        SaveError: the file cannot be made.
        NoLocksError: its file system knows no locks.
        Interrupted: a signal came while it was waited for.
    """
    descriptor = _take(path, wait)
    _held.add(descriptor)
    try:
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with suppress(OSError):  # a full disk: the lock is held all the same
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode() + b"\n", 0)
        yield partial(_is_still, path, descriptor)
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _take(path: Path, wait: bool) -> int:
    told = False
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise SaveError(f"{path}: cannot be written ({error.strerror}).") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            if not wait:
                raise LockedError(
                    f"{path.parent}: is in use by {_holder(path)}; wait until that is done, "
                    "or name another directory"
                ) from None
            if not told:
                logger.info("waiting for %s, which makes the same", _holder(path))
                told = True
            time.sleep(PATIENCE)
            check_interrupt()
        except OSError as error:
            os.close(descriptor)
            raise NoLocksError(
                f"{path}: this file system has no locks ({error.strerror}); name a place on "
                "another, or start with --no-lock where nothing else writes there"
            ) from error
        else:
            os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    """Tell whether `path` is the file that was opened; its last holder may have removed it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return f"process {facts['pid']} on {facts['host']} since {facts['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
