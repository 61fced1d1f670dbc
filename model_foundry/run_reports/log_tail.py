"""The end of a log: lines added since the last look, or the last figures of each kind."""

import json
import os
from pathlib import Path
from typing import Any

CHUNK = 2**16  # bytes
MOST = 2**22  # bytes from the end in which the last figures are looked for


class LogTail:
    """Reads the lines that were added to a log since the last reading.

    Attributes:
        restarted: True if the last reading began again from the top, since the file was replaced
            by a shorter one, as a run that resumes does.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.restarted = path, False
        self._file: tuple[int, int] | None = None  # device and inode
        self._offset = 0

    def new_lines(self) -> list[dict[str, Any]]:
        """Return the complete lines that were not returned before."""
        self.restarted = False
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                identity = found.st_dev, found.st_ino
                if self._file not in (None, identity) or found.st_size < self._offset:
                    self.restarted, self._offset = True, 0
                self._file = identity
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        end = content.rfind(b"\n") + 1
        self._offset += end
        return _parsed(content[:end].splitlines())


def last_figures(path: Path) -> dict[str, Any]:
    """Return the last value of each figure near the end of a log, and its last step and time.

    The file is read backwards until there are figures of training and of an evaluation.
    """
    figures: dict[str, Any] = {}
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            floor, rest, cut = max(0, end - MOST), b"", True
            while end > floor and not _is_complete(figures):
                start = max(0, end - CHUNK)
                file.seek(start)
                content = file.read(end - start) + rest
                if cut:  # behind the last line end is what a killed process left
                    content, cut = content[: content.rfind(b"\n") + 1], False
                lines = content.split(b"\n")
                rest = lines[0] if start else b""
                for line in reversed(_parsed(lines[1:] if start else lines)):
                    figures = line | figures
                end = start
    except FileNotFoundError:
        return {}
    return figures


def _is_complete(figures: dict[str, Any]) -> bool:
    kinds = {name.partition("/")[0] for name in figures if "/" in name}
    return "train" in kinds and len(kinds) > 1


def _parsed(lines: list[bytes]) -> list[dict[str, Any]]:
    """Return the lines that are JSON objects with a step; others are damaged."""
    found = []
    for line in lines:
        try:
            values = json.loads(line)
            found.append({**values, "step": int(values["step"])})
        except (ValueError, TypeError, LookupError, RecursionError, ArithmeticError):
            continue
    return found
