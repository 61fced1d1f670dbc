"""Files named by a path, a glob, a folder or a list of these, and the kind of each."""

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
COLUMNAR = ("parquet", "arrow")
CUT = ("text", "conllu")  # into documents by `data.document`; a row is a document already
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")


class Kind(NamedTuple):
    """The kind of a file, by its name."""

    content: str
    """A value of `KINDS`."""
    compression: str | None
    """An entry of `COMPRESSIONS`; None: none."""


def kind_of(path: Path) -> Kind:
    """Return the kind of a file; one of an unknown suffix is text.

    Raises:
        DataError: it cannot be read as a stream.
    """
    inner, suffix = os.path.splitext(path.name.lower())
    if suffix not in COMPRESSIONS:
        return Kind(KINDS.get(suffix, "text"), None)
    content = KINDS.get(os.path.splitext(inner)[1], "text")
    if content in COLUMNAR:
        raise DataError(
            f"{printable(path)}: {content} cannot be read from within {suffix}; unpack it"
        )
    return Kind(content, suffix)


def _is_known(name: str) -> bool:
    inner, suffix = os.path.splitext(name.lower())
    return suffix in KINDS or (suffix in COMPRESSIONS and os.path.splitext(inner)[1] in KINDS)


def require_regular(path: Path) -> None:
    """Refuse what is no file: a pipe would block whoever opens it, and a device may never end.

    Raises:
        DataError: it is not there, or is something else.
    """
    if path.is_file():
        return
    if path.is_symlink() and not path.exists():
        raise DataError(f"{printable(path)}: is a link that leads to no file; remove or mend it")
    if not path.exists():
        raise DataError(f"{printable(path)}: cannot be read (No such file or directory)")
    raise DataError(f"{printable(path)}: is not a regular file; name a text file or a folder")


def _folders(top: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Yield a folder and all below it, but for hidden ones, each with its files; links lead on."""

    def refuse(error: OSError) -> None:
        raise DataError(
            f"{printable(error.filename)}: cannot be read ({error.strerror})"
        ) from error

    entered = set()  # a link may lead back to a folder above it
    for place, folders, files in os.walk(top, followlinks=True, onerror=refuse):
        # sorted, so that of two ways to one folder it is always the same that is taken
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (real := os.path.realpath(place)) in entered:
            folders.clear()
            continue
        entered.add(real)
        yield place, files


def _matches(pattern: Path) -> Iterator[Path]:
    """Yield what a glob matches; that of the library is lost for ever where two links lead back."""
    if "**" not in pattern.parts:
        yield from map(Path, glob.glob(str(pattern)))
        return
    place = pattern.parts.index("**")
    rest = pattern.parts[place + 1 :] or ("*",)
    for top in glob.glob(str(Path(*pattern.parts[:place]))):
        for folder, _ in _folders(top):
            yield from _matches(Path(glob.escape(folder), *rest))


def _refuse_saved_dataset(folder: Path) -> None:
    """Leave what `save_to_disk` wrote to its own reader: it has splits, and lists its files."""
    names = ("dataset_dict.json", "dataset_info.json", "state.json")
    has_splits, has_info, has_state = ((folder / name).is_file() for name in names)
    if has_splits or (has_info and has_state):
        where = printable(folder)
        raise DataError(
            f"{where}: is a data set that save_to_disk wrote; name it as "
            f"{{disk: {where}, split: train}}"
        )


def _files_below(folder: Path) -> list[Path]:
    _refuse_saved_dataset(folder)
    visible = (
        (place, name) for place, names in _folders(folder) for name in names if name[0] != "."
    )
    found = sorted(Path(place, name) for place, name in visible if _is_known(name))
    if not found:
        known = " ".join(KINDS)
        remedy = "name the files by a glob"
        raise DataError(f"{printable(folder)}: the folder holds no file of {known}; {remedy}")
    for path in found:
        require_regular(path)
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
        return _files_below(path)
    if not found:
        raise DataError(f"{printable(pattern)}: no such file, folder or match; check the path")
    for match in found:
        require_regular(match)
    return found


def resolve_files(patterns: str | Sequence[str]) -> list[Path]:
    """Return the files that are named, in order, none of them twice.

    A folder stands for all files below it that have a suffix of `KINDS`, sorted; hidden ones are
    left out, and so are hidden folders. Links are followed.

    Raises:
        DataError: an entry names no file, or something that is not to be opened.
    """
    named = [patterns] if isinstance(patterns, str) else patterns
    found: dict[str, Path] = {}
    for path in (path for pattern in named for path in _files_of(pattern)):
        found.setdefault(os.path.realpath(path), path)
    return list(found.values())
