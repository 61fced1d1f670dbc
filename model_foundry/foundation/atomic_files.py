"""Writing so that a reader sees all of it or nothing: aside, flushed to the disk, then renamed.

Every directory and file that a later command reads (checkpoints, models, tokenizers, token caches,
status) is written through here. A committed directory carries a manifest with its own name, the
size and the SHA-256 of each of its files, and a SHA-256 of the manifest itself.
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
LARGEST_MANIFEST = 2**24  # bytes; what we write has a few thousand
UNFINISHED, UNWANTED, REPLACED = PREFIXES = ".tmp-", ".del-", ".was-"


Hash = Callable[[Path], str]  # returns the SHA-256 of a file in hexadecimal


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_committed(directory: Path) -> bool:
    """Tell whether `directory` was completed by `commit_directory`."""
    return (directory / MANIFEST).is_file()


def find_damage(directory: Path, *, sha256_of: Hash = file_sha256) -> str | None:
    """Return what differs between a committed directory and its manifest; None for nothing.

    Only regular files that lie in the directory are opened, whatever the manifest names. Files
    whose names begin with a dot are the system's, and are passed over.

    Args:
        sha256_of: hashes a file; may remember what it has hashed before.
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
            return f"{name} is not what was written"
    return None


@contextmanager
def commit_directory(
    target: Path, *, needed: int | None = None, sha256_of: Hash = file_sha256
) -> Iterator[Path]:
    """Yield an empty directory beside `target` that becomes `target` when the block ends well.

    When the block raises, nothing of it stays. A directory that already has the name is replaced.

    Args:
        needed: bytes that will be written, for the message when there is no room; None: unknown.
        sha256_of: hashes each file when it lies in its place.

    Raises:
        SaveError: the disk is full, writing is not permitted, or what was written reads otherwise.
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
        raise SaveError(f"{target}: reads otherwise than it was written ({fault}); check the disk.")
    failpoint(f"{target.name}: verified")


def newer_format(directory: Path) -> int | None:
    """Return the format of a whole manifest that a newer version wrote; None for any other."""
    try:
        manifest = json.loads(_manifest_text(directory))
        found = manifest["format"]
        whole = manifest.pop("sha256") == _digest(manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found if whole and isinstance(found, int) and found > MANIFEST_FORMAT else None


def write_text(path: Path, text: str) -> None:
    """Replace the file `path` by `text` in one step.

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
        OSError: it cannot be deleted; it may have lost its name already.
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

    What was moved away to be replaced, and is whole while nothing has taken its place, comes back.

    Args:
        directory: where to look. The caller knows that nobody else writes there.
        name: only what was to become, or was, the entry of that name; "": of any name.
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
    return path.read_bytes().decode()  # as it is: reading as text would translate line ends


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
    """Return a manifest as it is written; to the byte, so that no change of it goes unseen."""
    return json.dumps(manifest | {"sha256": _digest(manifest)}, indent=1) + "\n"


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _files(directory: Path) -> dict[str, Path]:
    """Return everything but directories below `directory`, by its relative name."""
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
    """Tell whether writing failed; the Rust libraries raise classes of their own for that."""
    return isinstance(error, OSError) or "os error" in str(error) or "I/O error" in str(error)


def _no_room(target: Path, aside: Path | None, error: Exception, needed: int | None) -> str:
    """Say what could not be written, how much it is and how much room there is."""
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
    """Flush each file of `directory`, give it the usual permissions, and write the manifest."""
    mode = 0o666 & ~_umask()
    entries = []
    for relative, path in sorted(_files(directory).items()):
        path.chmod(mode)  # safetensors and mkdtemp leave files that only their owner can read
        _sync(path)
        entries.append(
            {"name": relative, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
        )
        failpoint(f"{name}: {relative} flushed")
    directory.chmod(0o777 & ~_umask())
    manifest = {"format": MANIFEST_FORMAT, "name": name, "files": entries}
    (directory / MANIFEST).write_text(_as_text(manifest), encoding="utf-8")
    _sync(directory / MANIFEST)
    _sync(directory)
    failpoint(f"{name}: manifest written")


def _swap_in(aside: Path, target: Path) -> None:
    """Rename `aside` to `target`; a directory in its place is moved away first, then removed."""
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
