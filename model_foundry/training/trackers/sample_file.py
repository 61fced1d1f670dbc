"""`samples.jsonl` in a run: what the model wrote at each evaluation, one object a line."""

import json
from collections.abc import Mapping
from typing import Any

from model_foundry.foundation.atomic_files import write_text
from model_foundry.foundation.strict_json import strict_json
from model_foundry.training.metrics_log import read_metrics
from model_foundry.training.sinks import Values
from model_foundry.training.trackers.base import TrackedRun, Tracker


class SampleFile(Tracker):
    """Writes a line for each text: its step, its name and the text."""

    def __init__(self, section: Any, run: TrackedRun) -> None:
        super().__init__(section, run)
        self.path = run.directory / "samples.jsonl"

    def rewind(self, step: int) -> None:
        if self.path.is_file():
            kept = [line for line in read_metrics(self.path) if line["step"] < step]
            write_text(self.path, "".join(f"{strict_json(line)}\n" for line in kept))

    def write(self, step: int, values: Values) -> None:
        """Leave the figures to the log."""

    def texts(self, step: int, texts: Mapping[str, str]) -> None:
        lines = ({"step": step, "name": name, "text": text} for name, text in texts.items())
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
