"""Atomic writes: to a temporary place, flushed to the disk, then renamed.

Everything that a later command reads (checkpoints, models, tokenizers, token caches, status) is
written through this module. A committed directory has a manifest with its name, the size and
SHA-256 of each file, and the SHA-256 of the manifest itself.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model_foundry.errors import SaveError
from model_foundry.foundation.failpoints import failpoint

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 2
LARGEST_MANIFEST = 2**24  # bytes; ours have a few thousand
UNFINISHED, UNWANTED, REPLACED = PREFIXES = ".tmp-", ".del-", ".was-"

Hash = Callable[[Path], str]  # returns the SHA-256 of a file in hexadecimal


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_committed(directory: Path) -> bool:
    """Return True if `commit_directory` completed `directory`."""
    return (directory / MANIFEST).is_file()


def find_damage(directory: Path, *, sha256_of: Hash = file_sha256) -> str | None:
    """Return the first difference between a committed directory and its manifest; None: none.

    Only regular files in the directory are opened, whatever the manifest lists. Hidden files (the
    system's) are ignored.

    Args:
        sha256_of: hash function; may remember earlier results.
    """
    try:
        manifest = _read_manifest(directory)
        if manifest["name"] != directory.name:
            return f"{MANIFEST} belongs to a directory {manifest['name']!r}"
        listed = {entry["name"]: (entry["bytes"], entry["sha256"]) for entry in manifest["files"]}
        found = _files(directory)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return f"{MANIFEST} cannot be used ({error})"
    for name in sorted(listed.keys() ^ found.keys()):
        return f"{name} is missing" if name in listed else f"{name} is not in {MANIFEST}"
    for name, path in sorted(found.items()):
        if not path.is_file() or path.is_symlink():
            return f"{name} is no regular file"
        try:
            same = (path.stat().st_size, sha256_of(path)) == listed[name]
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if not same:
            return f"{name} differs from what was saved"
    return None


@contextmanager
def commit_directory(
    target: Path, *, needed: int | None = None, sha256_of: Hash = file_sha256
) -> Iterator[Path]:
    """Yield an empty directory beside `target` that becomes `target` at the end of the block.

    If the block raises, nothing of it remains. An existing `target` is replaced.

    Args:
        needed: bytes that will be written, for the message on a full disk; None: unknown.
        sha256_of: hash function that verifies each file in its final place.

    Raises:
        SaveError: the disk is full, writing is not permitted, or a file reads back differently.
    """
    aside = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        prefix = f"{UNFINISHED}{target.name}-"
        aside = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        failpoint(f"{target.name}: made aside")
        yield aside
        failpoint(f"{target.name}: filled")
        _seal(aside, target.name)
        _swap_in(aside, target)
    except Exception as error:
        if _is_about_storage(error) and not isinstance(error, SaveError):
            raise SaveError(_no_room(target, aside, error, needed)) from error
        raise
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
    fault = find_damage(target, sha256_of=sha256_of)
    if fault is not None:
        raise SaveError(f"{target}: reads back differently ({fault}); check the disk.")
    failpoint(f"{target.name}: verified")


def newer_format(directory: Path) -> int | None:
    """Return the format of an intact manifest of a newer version; None for any other."""
    try:
        manifest = json.loads(_manifest_text(directory))
        found = manifest["format"]
        whole = manifest.pop("sha256") == _digest(manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found if whole and isinstance(found, int) and found > MANIFEST_FORMAT else None


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` with `text` atomically.

    Raises:
        SaveError: the disk is full, or writing is not permitted.
    """
    aside = path.with_name(f"{UNFINISHED}{path.name}-{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        _sync(aside)
        aside.replace(path)
        _sync(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise SaveError(f"{path}: cannot be written ({error.strerror}).") from error


def delete_directory(directory: Path) -> None:
    """Delete a committed directory so that a reader finds all of it or nothing.

    Raises:
        OSError: it cannot be deleted; it may already be renamed.
    """
    unwanted = Path(tempfile.mkdtemp(prefix=f"{UNWANTED}{directory.name}-", dir=directory.parent))
    try:
        directory.rename(unwanted / directory.name)
    except OSError:
        unwanted.rmdir()
        raise
    failpoint(f"{directory.name}: given up")
    shutil.rmtree(unwanted)
    failpoint(f"{directory.name}: deleted")


def remove_debris(directory: Path, name: str = "") -> list[str]:
    """Remove what a killed process left half-written or half-deleted; return the names.

    An intact directory that was moved aside and never replaced is moved back.

    Args:
        directory: directory to clean up; no other process may write there.
        name: clean up after this entry only; "": after all.
    """
    names = tuple(f"{prefix}{name}" for prefix in PREFIXES)
    left = [path for path in directory.glob(".*") if path.name.startswith(names)]
    for path in left:
        _put_back(path)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return [path.name for path in left]


def _put_back(left: Path) -> None:
    for directory in left.iterdir() if left.name.startswith(REPLACED) else ():
        place = left.parent / directory.name
        if not place.exists() and find_damage(directory) is None:
            directory.rename(place)


def _manifest_text(directory: Path) -> str:
    path = directory / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise ValueError("it is missing")
    if path.stat().st_size > LARGEST_MANIFEST:
        raise ValueError(f"it is larger than {LARGEST_MANIFEST:,} bytes")
    return path.read_bytes().decode()  # read_text would translate line ends


def _read_manifest(directory: Path) -> dict[str, Any]:
    text = _manifest_text(directory)
    manifest = json.loads(text)
    if manifest["format"] != MANIFEST_FORMAT:
        raise ValueError(f"format {manifest['format']!r}, this version reads {MANIFEST_FORMAT}")
    del manifest["sha256"]
    if text != _as_text(manifest):
        raise ValueError("it is not what was written")
    return dict(manifest)


def _as_text(manifest: dict[str, Any]) -> str:
    """Return a manifest exactly as written, so that any change to the file is detected."""
    return json.dumps(manifest | {"sha256": _digest(manifest)}, indent=1) + "\n"


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _files(directory: Path) -> dict[str, Path]:
    """Return all files and links below `directory`, by relative name."""
    paths = (
        Path(parent) / name
        for parent, directories, files in os.walk(directory)
        for name in (*files, *(d for d in directories if (Path(parent) / d).is_symlink()))
    )
    named = {path.relative_to(directory): path for path in paths}
    return {
        name.as_posix(): path
        for name, path in named.items()
        if name != Path(MANIFEST) and not any(part.startswith(".") for part in name.parts)
    }


def _is_about_storage(error: Exception) -> bool:
    """Return True if writing failed; the Rust libraries raise their own classes for that."""
    return isinstance(error, OSError) or "os error" in str(error) or "I/O error" in str(error)


def _no_room(target: Path, aside: Path | None, error: Exception, needed: int | None) -> str:
    """Return the message for a failed write, with the bytes needed and free."""
    if aside is None:
        return f"{target}: cannot be written ({error})"
    written = sum(p.stat().st_size for p in aside.rglob("*") if p.is_file())
    size = f"{needed:,}" if needed else f"more than {written:,}"
    free = shutil.disk_usage(target.parent).free
    return (
        f"{target}: cannot be written ({error}); it needs {size} bytes and {free:,} are free; "
        "make room there, or name another place."
    )


def _seal(directory: Path, name: str) -> None:
    """Flush each file of `directory`, set the usual permissions, and write the manifest."""
    umask = os.umask(0)
    os.umask(umask)
    entries = []
    for relative, path in sorted(_files(directory).items()):
        path.chmod(0o666 & ~umask)  # safetensors and mkdtemp create private files
        _sync(path)
        size = path.stat().st_size
        entries.append({"name": relative, "bytes": size, "sha256": file_sha256(path)})
        failpoint(f"{name}: {relative} flushed")
    directory.chmod(0o777 & ~umask)
    manifest = {"format": MANIFEST_FORMAT, "name": name, "files": entries}
    (directory / MANIFEST).write_text(_as_text(manifest), encoding="utf-8")
    _sync(directory / MANIFEST)
    _sync(directory)
    failpoint(f"{name}: manifest written")


def _swap_in(aside: Path, target: Path) -> None:
    """Rename `aside` to `target`; an existing `target` is moved away first, then removed."""
    if target.exists():
        replaced = Path(tempfile.mkdtemp(prefix=f"{REPLACED}{target.name}-", dir=target.parent))
        target.rename(replaced / target.name)
        failpoint(f"{target.name}: old one moved away")
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
    failpoint(f"{target.name}: renamed")


def _sync(path: Path) -> None:
    """Flush a file or a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
