"""The interface through which training reports its progress; `run_reports` draws it."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self


class Reporter:
    """Receives the progress of an attempt, on rank 0. A method that is not overridden is silent.

    It is entered before the model is tried, and left when the last step is made or training stops.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, however training ended."""

    def resume(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take the lines of the log that earlier attempts left, before the first step."""

    def advance(self, step: int) -> None:
        """Take the number of steps made; called after each."""

    def record(self, line: Mapping[str, Any]) -> None:
        """Take a line of the log, with its step, attempt, time and figures."""

    def saved(self, step: int) -> None:
        """Take the step of a checkpoint that was written."""
