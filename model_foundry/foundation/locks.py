"""Advisory file locks (flock), which the system releases when a process dies.

The lock file names its holder, for messages only.
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

POLL_SECONDS = 0.2  # between two attempts to take a lock

_held: set[int] = set()


class NoLocksError(SaveError):
    """The file system has no locks."""


def _close_in_child() -> None:
    """Release all locks in a forked process, which may outlive its parent."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def exclusive(path: Path, *, wait: bool = False) -> Iterator[Callable[[], bool]]:
    """Hold the lock file `path`, which is created if missing.

    Args:
        wait: wait for the current holder; if False, a held lock is an error.

    Yields:
        A function that returns True while the locked file is still at `path`; directories can be
        moved.

    Raises:
        LockedError: another process, or this one, holds the lock.
        SaveError: the file cannot be created.
        NoLocksError: its file system has no locks.
        Interrupted: a signal arrived while waiting.
    """
    descriptor = _take(path, wait)
    _held.add(descriptor)
    try:
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with suppress(OSError):  # a full disk: the lock is held nevertheless
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode() + b"\n", 0)
        yield partial(_is_still, path, descriptor)
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Return True if some process holds the lock file `path`; False where nothing can be known.

    The lock is shared for an instant, which a process that takes it just then sees as held.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


def holder_of(path: Path) -> int | None:
    """Return the id of the last process that held the lock file `path`; None: unknown."""
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _take(path: Path, wait: bool) -> int:
    logged = False
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
                    f"{path.parent}: is in use by {_holder(path)}; wait until it ends, "
                    "or set another directory"
                ) from None
            if not logged:
                logger.info("waiting for %s, which builds the same cache entry", _holder(path))
                logged = True
            time.sleep(POLL_SECONDS)
            check_interrupt()
        except OSError as error:
            os.close(descriptor)
            raise NoLocksError(
                f"{path}: this file system has no locks ({error.strerror}); name a directory on "
                "another, or use --no-lock if nothing else writes there"
            ) from error
        else:
            os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    """Return True if `path` is the file that was opened; its last holder may have removed it."""
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
