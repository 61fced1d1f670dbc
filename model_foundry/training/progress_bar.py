"""Progress of a run: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model_foundry.evaluation.comparability import MOST_UNKNOWN
from model_foundry.foundation.messages import figure, figure_name

SHOWN: tuple[tuple[str, str, Callable[[float], str]], ...] = (  # of a step: key, label, form
    ("train/loss", "loss", figure),
    ("train/learning_rate", "lr", "{:.2e}".format),
    ("train/grad_norm", "|g|", partial(figure, decimals=2)),
)
UNITS = {"tokens": "tok"}


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


class Display:
    """Shows steps, losses and speed on the standard error stream.

    Args:
        total_steps: steps of the whole run.
        start: steps made before.
        console: None: the standard error stream.
    """

    def __init__(self, total_steps: int, *, start: int = 0, console: Console | None = None) -> None:
        self.total_steps = total_steps
        self.console = console or _console()
        self._started = time.monotonic()
        self._start = start
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            expand=True,
        )
        self._task = self._bar.add_task("train", total=total_steps, completed=start, figures="")

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """Move the bar to `step`."""
        self._bar.update(self._task, completed=step)

    def training(
        self, step: int, values: Mapping[str, float], metrics: Collection[str] = ()
    ) -> None:
        """Show the figures of a training step.

        Args:
            metrics: names of figures over the steps since the line before, off a terminal.
        """
        shown = [f"{label} {form(values[name])}" for name, label, form in SHOWN if name in values]
        shown += [f"train {_figure(name.removeprefix('train/'), values[name])}" for name in metrics]
        speed = next((name for name in values if name.endswith("_per_second")), None)
        if speed is not None:
            unit = speed.removeprefix("train/").removesuffix("_per_second")
            shown.append(f"{values[speed]:,.0f} {UNITS.get(unit, unit)}/s")
        if self.console.is_terminal:
            self._bar.update(self._task, figures="  ".join([*shown[:1], *shown[-1:]]))
        else:
            figures = "  ".join(shown)
            self._line(f"step {step}/{self.total_steps}  {figures}  {self._time_left(step)} left")

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """Show the result of an evaluation."""
        unknown = values.get("eval/unknown_share", 0.0)
        figures = "  ".join(
            _figure(name, value)
            for name, value in ((n.removeprefix("eval/"), v) for n, v in values.items())
            if name != "unknown_share"
        )
        note = f"  ({unknown:.1%} of the text unknown)" if unknown > MOST_UNKNOWN else ""
        self._line(f"step {step}/{self.total_steps}  eval {figures}{note}")

    def _line(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def _time_left(self, step: int) -> str:
        passed = time.monotonic() - self._started
        seconds = passed / max(1, step - self._start) * (self.total_steps - step)
        return str(timedelta(seconds=round(seconds)))


def _figure(key: str, value: float) -> str:
    return f"{figure_name(key)} {figure(value, 2 if key == 'perplexity' else 4)}"


def _console() -> Console:
    if sys.stderr is None:  # the process was started without one
        return Console(quiet=True)
    return Console(file=cast(TextIO, _Unfailing(sys.stderr)), highlight=False)
