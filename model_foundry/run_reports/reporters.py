"""Reporters of a training: a live panel, plain lines, JSON, nothing.

Messages of the log are printed above the panel, and between the lines elsewhere.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TextIO, cast

from rich.console import Console

from model_foundry.errors import Interrupted
from model_foundry.foundation.messages import figure_name
from model_foundry.foundation.strict_json import strict_json
from model_foundry.foundation.terminal import can_redraw
from model_foundry.run_reports.figure_texts import (
    note_on_unknown_text,
    other_figures,
    shown_figures,
    speed_text,
    value_text,
)
from model_foundry.run_reports.live_panel import LivePanel
from model_foundry.run_reports.panel import RunPanel
from model_foundry.run_reports.run_view import RunView, grouped
from model_foundry.run_reports.text_forms import time_left
from model_foundry.training.reporting import Reporter

MakeReporter = Callable[[RunView], Reporter]
REFRESHES = 2  # of the panel in a second; each takes about 1.2 ms of the interpreter
HINT, HINT_WITHOUT_SAVING = "Ctrl-C saves and stops", "Ctrl-C stops"
TRAIN_FIGURES = (("loss", "loss", 7), ("learning_rate", "lr", 8), ("grad_norm", "|g|", 6))
WIDEST_SPEED = 14
EVENTS = {True: "evaluation", False: "log"}


class _Unfailing:
    """A stream that drops its output if the reader is gone or the disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # ValueError: it was closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def silent(view: RunView) -> Reporter:
    """Return a reporter that shows nothing."""
    return Reporter()


def reporter_for(view: RunView) -> Reporter:
    """Return a live panel if the standard error stream is a terminal, else plain lines."""
    if sys.stderr is None:  # the process was started without one
        return Reporter()
    console = Console(file=cast(TextIO, _Unfailing(sys.stderr)), highlight=False)
    return (PanelReporter if can_redraw(sys.stderr) else LineReporter)(view, console)


class _ViewReporter(Reporter):
    """Keeps the view of a run up to date."""

    def __init__(self, view: RunView) -> None:
        self.view = view

    def resume(self, lines: Iterable[Mapping[str, Any]]) -> None:
        for line in lines:
            self.view.add(line)

    def advance(self, step: int) -> None:
        self.view.step = step

    def record(self, line: Mapping[str, Any]) -> None:
        self.view.add(line)

    def saved(self, step: int) -> None:
        self.view.saved, self.view.saved_at = step, time.time()


class PanelReporter(_ViewReporter):
    """Draws the panel of a run while it trains, in a thread of its own."""

    def __init__(self, view: RunView, console: Console) -> None:
        super().__init__(view)
        hint = HINT if view.facts.saves else HINT_WITHOUT_SAVING
        self.live = LivePanel(RunPanel(view, footer=hint), console, refreshes=REFRESHES)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            stopped = isinstance(error, Interrupted | KeyboardInterrupt)
            self.view.state = "interrupted" if stopped else "failed"
        else:
            self.view.state = "completed"
        self.live.panel.footer = ""  # the hint is for a run that can be stopped
        self.live.stop()


class LineReporter(_ViewReporter):
    """Prints one line for each line of the log, without control characters."""

    def __init__(self, view: RunView, console: Console) -> None:
        super().__init__(view)
        self.console = console

    def record(self, line: Mapping[str, Any]) -> None:
        super().record(line)
        total = self.view.facts.total_steps
        head = f"step {line['step']}/{total}".ljust(len(f"step {total}/{total}"))
        for kind in grouped(line):
            text = self._training() if kind == "train" else self._evaluation(kind)
            self.console.print(f"{head}  {text}", soft_wrap=True, markup=False, emoji=False)

    def _training(self) -> str:
        view = self.view
        parts = [
            f"{label} {value_text(name, view.train[name]):>{width}}"
            for name, label, width in TRAIN_FIGURES
            if name in view.train
        ]
        parts += [
            f"train {figure_name(name)} {value_text(name, value)}"
            for name, value in other_figures(view)
            if "/" not in name
        ]
        parts.append((speed_text(view, short=True) or "").rjust(WIDEST_SPEED))
        if (left := view.seconds_left()) is not None:
            parts.append(time_left(left))
        return "  ".join(parts)

    def _evaluation(self, kind: str) -> str:
        evaluation = self.view.evaluations[kind]
        parts = [
            f"{figure_name(name)} {value_text(name, value)}"
            for name, value in shown_figures(evaluation, self.view, kind=kind)
        ]
        return f"{kind} {'  '.join(parts)}{note_on_unknown_text(evaluation.values)}"


class JsonReporter(Reporter):
    """Writes one JSON object a line: lines of the log and of evaluations, and checkpoints."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def record(self, line: Mapping[str, Any]) -> None:
        evaluates = any(kind != "train" for kind in grouped(line))
        self.write({"event": EVENTS[evaluates], **line})

    def saved(self, step: int) -> None:
        self.write({"event": "checkpoint", "step": step, "time": round(time.time(), 3)})

    def write(self, event: Mapping[str, Any]) -> None:
        """Write one object and flush it."""
        self.stream.write(strict_json(event) + "\n")
        self.stream.flush()
