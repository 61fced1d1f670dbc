"""Cache entries: built once, by one process, and verified before use."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from model_foundry.errors import SaveError
from model_foundry.foundation.atomic_files import (
    Hash,
    file_sha256,
    find_damage,
    is_committed,
    remove_debris,
)
from model_foundry.foundation.locks import NoLocksError, exclusive

logger = logging.getLogger(__name__)

REMEDY = "set data.cache_dir or FOUNDRY_CACHE to another directory"


@contextmanager
def building(directory: Path, *, sha256_of: Hash = file_sha256) -> Iterator[bool]:
    """Lock a cache entry and yield True if it must be built in the block.

    Other processes that need the entry wait. A damaged entry is reported and built again; debris
    of a killed process is removed.

    Args:
        sha256_of: hash function; may remember earlier results.
    """
    # without the lock: the cache may be read-only
    if find_damage(directory, sha256_of=sha256_of) is None:
        yield False
        return
    with _parents_created(directory), _locked(directory):
        fault = find_damage(directory, sha256_of=sha256_of)
        if fault is not None and is_committed(directory):
            logger.warning("%s is damaged (%s) and is built again", directory, fault)
        yield fault is not None


@contextmanager
def _parents_created(entry: Path) -> Iterator[None]:
    """Create the parent directories of an entry; remove them again if the block fails."""
    new = [each for each in entry.parents if not each.exists()]
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(f"{entry}: cannot be written ({error.strerror}); {REMEDY}") from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # another process may have written there meanwhile
            for each in new:
                each.rmdir()
        raise


NO_LOCKS = (
    "this file system has no locks; start no other command with the same cache until it is built"
)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of an entry, if the file system has locks, and remove debris."""
    with ExitStack() as held:
        lock = directory.with_name(f".{directory.name}.lock")
        try:
            held.enter_context(exclusive(lock, wait=True))
            remove_debris(directory.parent, directory.name)
        except NoLocksError:
            logger.warning("%s: %s", directory.parent, NO_LOCKS)
        except SaveError as error:  # its message names the lock, not the entry
            cause = error.__cause__
            reason = cause.strerror if isinstance(cause, OSError) else str(error)
            raise SaveError(f"{directory}: cannot be written ({reason}); {REMEDY}") from error
        try:
            yield
        except BaseException:
            lock.unlink(missing_ok=True)  # a waiting process notices, and creates it again
            raise
