"""Sinks: further places, beside the log of a run, that its measurements are written to."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_foundry.foundation.messages import short_repr
from model_foundry.foundation.plugins import describe_error

if TYPE_CHECKING:  # the log is read where torch is not
    from model_foundry.training.histograms import PendingHistograms

logger = logging.getLogger(__name__)

Values = Mapping[str, float | str]


@dataclass(frozen=True)
class Line:
    """One line of the log."""

    step: int
    time: float
    """Wall time in seconds since the epoch."""
    values: Values
    """Figures, and texts such as digests, by their names in the log."""


class Sink(ABC):
    """A place for measurements, for `train(config, sinks=[...])`; only rank 0 uses it.

    One that raises an exception is only closed from there on, with a warning; the run goes on. It
    is called between two steps, which wait for it; a tracker (`training.trackers`) is not waited
    for.
    """

    @abstractmethod
    def write(self, step: int, values: Values) -> None:
        """Take the measurements of a step by their names in the log, such as `train/loss`."""

    def log(self, line: Line) -> None:
        """Take a line of the log; `write` gets its step and values."""
        self.write(line.step, dict(line.values))

    def rewind(self, step: int) -> None:  # noqa: B027 - need not be overridden
        """Forget what came after the checkpoint of `step`; it comes again.

        Called once before the first step; 0: the run begins. A checkpoint precedes the evaluation
        of its step.
        """

    def replay(self, lines: Sequence[Line]) -> None:  # noqa: B027
        """Take the lines of the log up to the checkpoint, right after `rewind`; most need not."""

    def histograms(self, step: int, pending: "PendingHistograms") -> None:  # noqa: B027
        """Take the histograms of a step; `pending.counted()` waits until they are counted."""

    def texts(self, step: int, texts: Mapping[str, str]) -> None:  # noqa: B027
        """Take what the model wrote at a step, by name."""

    def flush(self, step: int) -> None:  # noqa: B027
        """Prepare for a checkpoint of `step`, which is written next."""

    def close(self) -> None:  # noqa: B027
        """Finish, however the run ended."""


class Sinks(Sink):
    """Several sinks, each of which may fail.

    Raises:
        TypeError: one is no `Sink`.
    """

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self._sinks, self._failed = list[Sink](), list[Sink]()
        for sink in sinks:
            self.add(sink)

    def add(self, sink: Sink) -> None:
        """Add a sink.

        Raises:
            TypeError: it is no `Sink`.
        """
        if not isinstance(sink, Sink):
            found = short_repr(sink)
            raise TypeError(f"sinks: must be objects of subclasses of Sink, got {found}")
        self._sinks.append(sink)

    def write(self, step: int, values: Values) -> None:
        self._each("write", lambda sink: sink.write(step, dict(values)))

    def log(self, line: Line) -> None:
        self._each("write", lambda sink: sink.log(line))

    def rewind(self, step: int) -> None:
        self._each("rewind", lambda sink: sink.rewind(step))

    def replay(self, lines: Sequence[Line]) -> None:
        self._each("replay", lambda sink: sink.replay(lines))

    def histograms(self, step: int, pending: "PendingHistograms") -> None:
        self._each("histograms", lambda sink: sink.histograms(step, pending))

    def texts(self, step: int, texts: Mapping[str, str]) -> None:
        self._each("texts", lambda sink: sink.texts(step, texts))

    def flush(self, step: int) -> None:
        self._each("flush", lambda sink: sink.flush(step))

    def close(self) -> None:
        self._sinks, self._failed = [*self._sinks, *self._failed], []
        self._each("close", lambda sink: sink.close())

    def _each(self, method: str, call: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                call(sink)
            except Exception as error:
                self._sinks.remove(sink)
                self._failed.append(sink)
                logger.warning(
                    "sink %s: %s failed (%s); the run goes on without it",
                    *(type(sink).__name__, method, describe_error(error)),
                )
