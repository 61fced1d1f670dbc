"""SHA-256 of files, remembered between processes.

A remembered hash is used while path, size, modification and change time (in nanoseconds) and inode
are the same. A write to a file changes one of these.
"""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from model_foundry.errors import DataError, SaveError
from model_foundry.foundation.atomic_files import file_sha256, write_text

FORMAT = 1
TICK = 50_000_000  # nanoseconds: two writes within one tick of the clock look the same
Stat = list[int]


def stat_of(path: Path) -> Stat:
    """Return the facts of a file that change with its content."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


class FileHashes:
    """Hashes of files, stored in the cache directory, in one file per directory.

    Losing them costs time only: an unknown hash is computed.
    """

    def __init__(self, cache: Path) -> None:
        self.directory = cache / "hashes"
        self._known: dict[Path, dict[str, Any]] = {}
        self._changed: set[Path] = set()

    def __call__(self, path: Path) -> str:
        """Return the SHA-256 of a file in hexadecimal.

        Raises:
            OSError: it cannot be read.
        """
        path = Path(os.path.abspath(path))
        known, stat = self._load(path.parent), stat_of(path)
        entry = known.get(path.name)
        if isinstance(entry, list) and entry[:-1] == stat and isinstance(entry[-1], str):
            return entry[-1]
        start = time.time_ns()
        digest = file_sha256(path)
        if max(stat[1:3]) < start - TICK:
            known[path.name] = [*stat, digest]
            self._changed.add(path.parent)
        return digest

    def of_source(self, path: Path) -> str:
        """Return the SHA-256 of a file of a corpus.

        Raises:
            DataError: it cannot be read.
        """
        try:
            return self(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error

    def keep(self) -> None:
        """Store the computed hashes, unless the cache is read-only."""
        for parent in self._changed:
            text = json.dumps({"format": FORMAT, "files": self._known[parent]})
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                write_text(self._file_of(parent), text + "\n")
            except (OSError, SaveError):
                return
        self._changed.clear()

    def _load(self, parent: Path) -> dict[str, Any]:
        if parent not in self._known:
            try:
                stored = json.loads(self._file_of(parent).read_text(encoding="utf-8"))
                files = stored["files"] if stored["format"] == FORMAT else {}
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                files = {}
            self._known[parent] = files if isinstance(files, dict) else {}
        return self._known[parent]

    def _file_of(self, parent: Path) -> Path:
        name = hashlib.sha256(os.fsencode(parent)).hexdigest()[:32]
        return self.directory / f"{name}.json"
