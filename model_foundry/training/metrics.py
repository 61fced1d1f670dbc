"""The log of a run: one JSON object a line, for machines; `progress` is for eyes."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from model_foundry.errors import SaveError


class MetricsLog:
    """Appends lines to `metrics.jsonl`, each with its step, attempt and wall time in seconds."""

    def __init__(self, path: Path, *, attempt: int = 1) -> None:
        self.path, self.attempt = path, attempt

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line. The file is opened each time, so that nothing waits in a buffer.

        Raises:
            SaveError: the disk is full, or writing is not permitted.
        """
        line = {"step": step, "attempt": self.attempt, "time": round(time.time(), 3), **values}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise SaveError(f"{self.path}: cannot be written ({error.strerror})") from error


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read every line of a log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
