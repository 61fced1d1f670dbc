"""`metrics.jsonl`, the log of a run: one JSON object per line.

Every line is strict JSON: figures that are not finite become null. Each step is logged once,
however often the run was resumed: lines that a killed process wrote after its last checkpoint are
removed before the steps are made again.
"""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model_foundry.errors import SaveError
from model_foundry.foundation.atomic_files import write_text
from model_foundry.foundation.strict_json import strict_json
from model_foundry.training.reporting import Reporter
from model_foundry.training.sinks import Line, Sinks

logger = logging.getLogger(__name__)

EVALUATIONS = ("eval/", "test/")


class LogError(SaveError):
    """A line of the log could not be written; what was trained can still be saved."""


class MetricsLog:
    """Appends lines to `metrics.jsonl`, each with its step, attempt and wall time in seconds.

    Args:
        before_writing: called before each line; may refuse it by raising.
        sinks: receive the same measurements after the log.

    Attributes:
        reporter: shows each line.
    """

    def __init__(
        self,
        path: Path,
        *,
        attempt: int = 1,
        before_writing: Callable[[], None] | None = None,
        sinks: Sinks | None = None,
    ) -> None:
        self.path, self.attempt, self.before_writing = path, attempt, before_writing
        self.sinks, self.reporter = sinks or Sinks(), Reporter()
        self._lines, self._evaluated = 0, -1

    def write(self, step: int, values: Mapping[str, float | str]) -> None:
        """Append one line. The file is opened each time, so nothing stays in a buffer.

        Raises:
            LogError: the disk is full, or writing is not permitted.
        """
        if self.before_writing is not None:
            self.before_writing()
        seconds = round(time.time(), 3)
        line = {"step": step, "attempt": self.attempt, "time": seconds, **values}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(strict_json(line) + "\n")
        except OSError as error:
            raise LogError(f"{self.path}: cannot be written ({error.strerror})") from error
        self._lines += 1
        if not _precedes(line, step):
            self._evaluated = step
        self.reporter.record(line)
        self.sinks.log(Line(step, seconds, values))

    def lines_before(self, step: int) -> int:
        """Return the number of lines that precede a checkpoint of `step`, the present step."""
        return self._lines - (self._evaluated == step)

    def flush(self, step: int) -> None:
        """Flush every line to disk, so that the log is never older than a checkpoint of `step`.

        Raises:
            SaveError: the disk fails.
        """
        self.sinks.flush(step)
        if not self.path.exists():
            return
        try:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise SaveError(f"{self.path}: cannot be written ({error.strerror})") from error

    def rewind(self, step: int) -> None:
        """Remove the lines after the checkpoint of `step`, which are written again.

        A checkpoint precedes the evaluation of its step.

        Raises:
            SaveError: the file cannot be written.
        """
        kept = self._rewind_file(step) if os.path.lexists(self.path) else []
        self.sinks.rewind(step)
        self.sinks.replay([_without_frame(line) for line in kept])

    def _rewind_file(self, step: int) -> list[dict[str, Any]]:
        """Remove lines as `rewind` does; return those that stay."""
        if not self.path.is_file():
            raise SaveError(f"{self.path}: is not a regular file; move it away")
        kept = [line for line in read_metrics(self.path) if _precedes(line, step)]
        write_text(self.path, "".join(strict_json(line) + "\n" for line in kept))
        self._lines = len(kept)
        self.reporter.resume(kept)
        return kept


def _precedes(line: Mapping[str, Any], step: int) -> bool:
    evaluates = any(name.startswith(EVALUATIONS) for name in line)
    return bool(line["step"] < step or (line["step"] == step and not evaluates))


def _without_frame(line: Mapping[str, Any]) -> Line:
    """Return a line that was read; null stands for a figure that was not finite."""
    values = {
        name: math.nan if value is None else value
        for name, value in line.items()
        if name not in ("step", "attempt", "time")
    }
    return Line(line["step"], line.get("time", 0.0), values)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read every complete line of a log; a crash may have cut off the last.

    Other damaged lines are reported and left out; training does not depend on them.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    found = []
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            continue
        try:
            values = json.loads(line)
            found.append({"step": int(values["step"]), **values})
        except (ValueError, TypeError, ArithmeticError, LookupError, RecursionError):
            logger.warning("%s: line %d is damaged and left out", path, number)
    return found
