"""`trackers.json` in a run: what each tracker needs to continue its own run in a later attempt."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_foundry.foundation.atomic_files import write_text
from model_foundry.foundation.strict_json import strict_json


class TrackerRecords:
    """The records of all trackers of a run, which they keep from threads of their own.

    Args:
        before_writing: called before the file is written; may refuse it by raising.
    """

    def __init__(self, path: Path, before_writing: Callable[[], None] = lambda: None) -> None:
        self.path, self.before_writing = path, before_writing
        self._lock = threading.Lock()

    def of(self, tracker: str) -> "TrackerRecord":
        """Return the record of a tracker."""
        return TrackerRecord(tracker, self)

    def read(self) -> dict[str, dict[str, Any]]:
        """Return the facts of each tracker; {}: there is no file, or a damaged one."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        facts = found if isinstance(found, dict) else {}
        return {name: kept for name, kept in facts.items() if isinstance(kept, dict)}

    def keep(self, tracker: str, facts: dict[str, Any]) -> None:
        """Add facts to those of a tracker, and write the file.

        Raises:
            SaveError: the disk is full, or writing is not permitted.
        """
        with self._lock:
            self.before_writing()
            known = self.read()
            known[tracker] = known.get(tracker, {}) | facts
            write_text(self.path, strict_json(known, indent=1) + "\n")


@dataclass(frozen=True)
class TrackerRecord:
    """The record of one tracker."""

    tracker: str
    records: TrackerRecords

    def get(self, name: str) -> Any:
        """Return a fact that was kept; None: there is none of this name."""
        return self.records.read().get(self.tracker, {}).get(name)

    def keep(self, **facts: Any) -> None:
        """Keep facts, plain JSON, for later attempts.

        Raises:
            SaveError: the disk is full, or writing is not permitted.
        """
        self.records.keep(self.tracker, facts)
