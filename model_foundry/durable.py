"""Writing so that a reader sees all of it or nothing: aside, flushed to the disk, then renamed.

Every directory and file that a later command reads (checkpoints, models, tokenizers, token caches,
status) is written through here. A committed directory carries a manifest with the size and the
SHA-256 of each of its files.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_foundry.errors import SaveError

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_committed(directory: Path) -> bool:
    """Tell whether `directory` was completed by `commit_directory`."""
    return (directory / MANIFEST).is_file()


def damage(directory: Path) -> str | None:
    """Return what differs between a committed directory and its manifest; None for nothing."""
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        for entry in manifest["files"]:
            path = directory / entry["name"]
            if not path.is_file():
                return f"{entry['name']} is missing"
            if path.stat().st_size != entry["bytes"] or file_sha256(path) != entry["sha256"]:
                return f"{entry['name']} is not what was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{MANIFEST} cannot be read ({error})"
    return None


def find_committed(directory: Path) -> bool:
    """Tell whether `directory` was completed and is as it was then; report damage as a warning."""
    if not is_committed(directory):
        return False
    fault = damage(directory)
    if fault is not None:
        logger.warning("%s is damaged (%s) and is made again", directory, fault)
    return fault is None


@contextmanager
def commit_directory(target: Path) -> Iterator[Path]:
    """Yield an empty directory beside `target` that becomes `target` when the block ends well.

    When the block raises, nothing of it stays. A directory that already has the name is replaced.

    Raises:
        SaveError: the disk is full, or writing is not permitted.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".tmp-{target.name}-", dir=target.parent))
    except OSError as error:
        raise SaveError(f"{target}: cannot be written ({error.strerror}).") from error
    try:
        yield aside
        _seal(aside)
        _swap_in(aside, target)
    except Exception as error:
        if _is_about_storage(error):
            raise SaveError(
                f"{target}: cannot be written ({error}); make room there, or name another place."
            ) from error
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text` in one step.

    Raises:
        SaveError: the disk is full, or writing is not permitted.
    """
    aside = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        _sync(aside)
        aside.replace(path)
        _sync(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise SaveError(f"{path}: cannot be written ({error.strerror}).") from error


def _is_about_storage(error: Exception) -> bool:
    """Tell whether writing failed; the Rust libraries raise classes of their own for that."""
    return isinstance(error, OSError) or "os error" in str(error) or "I/O error" in str(error)


def _seal(directory: Path) -> None:
    """Flush each file of `directory`, give it the usual permissions, and write the manifest."""
    mode = 0o666 & ~_umask()
    entries = []
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        path.chmod(mode)  # safetensors and mkdtemp leave files that only their owner can read
        _sync(path)
        name = path.relative_to(directory).as_posix()
        entries.append({"name": name, "bytes": path.stat().st_size, "sha256": file_sha256(path)})
    directory.chmod(0o777 & ~_umask())
    manifest = {"format": MANIFEST_FORMAT, "files": entries}
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    _sync(directory / MANIFEST)
    _sync(directory)


def _swap_in(aside: Path, target: Path) -> None:
    """Rename `aside` to `target`; a directory in its place is moved away first, then removed."""
    if target.exists():
        replaced = Path(tempfile.mkdtemp(prefix=f".del-{target.name}-", dir=target.parent))
        target.rename(replaced / target.name)
        try:
            aside.rename(target)
        except OSError:
            (replaced / target.name).rename(target)
            replaced.rmdir()
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        aside.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Ask the system to put a file or a directory on the disk before anything else happens."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
