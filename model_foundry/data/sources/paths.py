"""Resolution of paths, globs and folders to files, and the kind of each file."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from model_foundry.errors import DataError
from model_foundry.foundation.messages import printable
from model_foundry.foundation.paths import written_path

KINDS = {
    ".txt": "text",
    ".jsonl": "json lines",
    ".ndjson": "json lines",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".conllu": "conllu",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
NAMED_ONLY = {".npz": "npz"}  # left out of a folder, whose texts it may stand beside
COLUMNAR = ("parquet", "arrow", "npz")
CUT = ("text", "conllu")  # split into documents by `data.document`; a row is one document
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")


class Kind(NamedTuple):
    """The kind of a file, from its name."""

    content: str
    """A value of `KINDS` or `NAMED_ONLY`."""
    compression: str | None
    """An entry of `COMPRESSIONS`; None: not compressed."""


def _suffixes(name: str) -> tuple[str, str | None]:
    """Return the suffix of the content and that of the compression."""
    inner, suffix = os.path.splitext(name.lower())
    return (os.path.splitext(inner)[1], suffix) if suffix in COMPRESSIONS else (suffix, None)


def kind_of(path: Path) -> Kind:
    """Return the kind of a file; a file with an unknown suffix is text.

    Raises:
        DataError: the file is columnar and compressed, so it cannot be read as a stream.
    """
    suffix, compression = _suffixes(path.name)
    content = (KINDS | NAMED_ONLY).get(suffix, "text")
    if content in COLUMNAR and compression:
        raise DataError(
            f"{printable(path)}: {content} cannot be read from a {compression} file; unpack it"
        )
    return Kind(content, compression)


def is_no_file(path: str | Path) -> bool:
    """Return whether a path is something else: opening a pipe blocks, a device may never end."""
    return os.path.exists(path) and not os.path.isfile(path)


def require_regular(path: Path) -> None:
    """Raise a DataError unless a path is a file; see `is_no_file`."""
    if path.is_file():
        return
    if not os.path.lexists(path):
        raise DataError(f"{printable(path)}: cannot be read (No such file or directory)")
    if not path.exists():
        raise DataError(f"{printable(path)}: is a broken link; remove or repair it")
    raise DataError(f"{printable(path)}: is not a regular file; name a text file or a folder")


def _folders(top: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Yield a folder and those below it with their files; follow links, skip hidden folders."""

    def refuse(error: OSError) -> None:
        raise DataError(
            f"{printable(error.filename)}: cannot be read ({error.strerror})"
        ) from error

    entered = set()  # a link may point to a folder above it
    for place, folders, files in os.walk(top, followlinks=True, onerror=refuse):
        # sorted, so that a folder with two paths is always found by the same one
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (real := os.path.realpath(place)) in entered:
            folders.clear()
            continue
        entered.add(real)
        yield place, files


def _matches(pattern: Path) -> Iterator[Path]:
    """Yield the matches of a glob; `**` of the standard library never ends if links form cycles."""
    if "**" not in pattern.parts:
        yield from map(Path, glob.glob(str(pattern)))
        return
    place = pattern.parts.index("**")
    rest = pattern.parts[place + 1 :] or ("*",)
    for top in glob.glob(str(Path(*pattern.parts[:place]))):
        for folder, _ in _folders(top):
            yield from _matches(Path(glob.escape(folder), *rest))


def _files_below(folder: Path) -> list[Path]:
    info, state, splits = "dataset_info.json", "state.json", "dataset_dict.json"
    saved = {name for name in (info, state, splits) if (folder / name).is_file()}
    if splits in saved or saved == {info, state}:  # not a folder of independent files
        where = printable(folder)
        raise DataError(
            f"{where}: was saved by save_to_disk; name it as {{disk: {where}, split: train}}"
        )
    found = [
        Path(place, name)
        for place, names in _folders(folder)
        for name in names
        if not name.startswith(".") and _suffixes(name)[0] in KINDS
    ]
    if not found:
        known = " ".join(KINDS)
        remedy = "name the files by a glob"
        raise DataError(f"{printable(folder)}: the folder has no file of {known}; {remedy}")
    return found


def _files_of(pattern: str) -> list[Path]:
    try:
        path = Path(written_path(pattern))
        is_folder, exists = path.is_dir(), os.path.lexists(path)
        # a file may have a glob in its name
        matches = {path} if exists else set(_matches(path))
        found = sorted(match for match in matches if not match.is_dir())
    except (OSError, RuntimeError, ValueError) as error:
        # a name too long, a zero byte, or the home of an unknown user
        raise DataError(f"{printable(pattern)}: is no path ({printable(error)})") from error
    if is_folder:
        found = sorted(_files_below(path))
    if not found:
        raise DataError(f"{printable(pattern)}: no such file, folder or match; check the path")
    for match in found:
        require_regular(match)
    return found


def resolve_files(patterns: str | Sequence[str]) -> list[Path]:
    """Return the files that the patterns name, in order and without duplicates.

    A folder stands for all files below it that have a suffix of `KINDS`, sorted, without hidden
    files and folders. Links are followed.

    Raises:
        DataError: a pattern matches no file, or something else than a regular file.
    """
    named = [patterns] if isinstance(patterns, str) else patterns
    found: dict[str, Path] = {}
    for path in (path for pattern in named for path in _files_of(pattern)):
        found.setdefault(os.path.realpath(path), path)
    return list(found.values())
