"""Entries of a cache: made once, by one process, and looked at before they are used."""

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

REMEDY = "name another place by data.cache_dir or FOUNDRY_CACHE"


@contextmanager
def building(directory: Path, *, sha256_of: Hash = file_sha256) -> Iterator[bool]:
    """Keep others from making the same entry of a cache; yield whether it has yet to be made.

    Several processes that need the entry wait for the first. One that is damaged is named and made
    again; what a killed process left of it is removed.

    Args:
        sha256_of: hashes a file; may remember what it has hashed before.

    Raises:
        SaveError: the cache cannot be written.
        Interrupted: a signal came while another process was waited for.
    """
    # without the lock: the cache may be read-only
    if find_damage(directory, sha256_of=sha256_of) is None:
        yield False
        return
    with _directories_of(directory), _alone_at(directory):
        made = is_committed(directory)
        fault = find_damage(directory, sha256_of=sha256_of) if made else "not made yet"
        if made and fault is not None:
            logger.warning("%s is damaged (%s) and is made again", directory, fault)
        yield fault is not None


@contextmanager
def _directories_of(entry: Path) -> Iterator[None]:
    """Make the directories of a cache; where the entry comes to nothing, nothing of them stays."""
    new = [each for each in entry.parents if not each.exists()]
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SaveError(f"{entry}: cannot be written ({error.strerror}); {REMEDY}") from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # others have put something there meanwhile
            for each in new:
                each.rmdir()
        raise


@contextmanager
def _alone_at(directory: Path) -> Iterator[None]:
    """Wait for whoever makes the same, where there are locks, and remove what a killed one left."""
    with ExitStack() as held:
        lock = directory.with_name(f".{directory.name}.lock")
        try:
            held.enter_context(exclusive(lock, wait=True))
            remove_debris(directory.parent, directory.name)
        except NoLocksError:
            logger.warning(
                "%s: this file system has no locks; start nothing else that needs the same cache "
                "until it is made",
                directory.parent,
            )
        except SaveError as error:  # it speaks of the lock, of which nobody has heard
            cause = error.__cause__
            reason = cause.strerror if isinstance(cause, OSError) else str(error)
            raise SaveError(f"{directory}: cannot be written ({reason}); {REMEDY}") from error
        try:
            yield
        except BaseException:
            lock.unlink(missing_ok=True)  # whoever waits for it notices, and makes it anew
            raise
