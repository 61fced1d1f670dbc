"""The trackers that Accelerate knows, through its own classes."""

import inspect
from typing import Any

from model_foundry.training.sinks import Values
from model_foundry.training.trackers.base import TrackedRun, Tracker, figures_of


class AccelerateTracker(Tracker):
    """Logs through `accelerate.tracking`, which cannot continue a run: each attempt has its own."""

    def __init__(self, section: Any, run: TrackedRun) -> None:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        super().__init__(section, run)
        made_by = LOGGER_TYPE_TO_CLASS[run.record.tracker]
        arguments = dict(section.arguments)
        if "logging_dir" in inspect.signature(made_by).parameters:
            arguments.setdefault("logging_dir", str(section.directory or run.directory))
        self._tracker = made_by(section.project or run.name, **arguments)
        self._tracker.start()
        self._tracker.store_init_configuration(
            {name: _scalar(value) for name, value in run.settings.items()}
        )

    def write(self, step: int, values: Values) -> None:
        self._tracker.log(figures_of(values), step=step)

    def close(self) -> None:
        self._tracker.finish()


def _scalar(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
