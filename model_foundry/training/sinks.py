"""Sinks: further places, beside the log of a run, that its measurements are written to."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from model_foundry.foundation.messages import short_repr
from model_foundry.foundation.plugins import describe_error

logger = logging.getLogger(__name__)

Values = Mapping[str, float | str]


class Sink(ABC):
    """A place for measurements, for `train(config, sinks=[...])`; only rank 0 uses it.

    One that raises an exception is only closed from there on, with a warning; the run goes on.
    """

    @abstractmethod
    def write(self, step: int, values: Values) -> None:
        """Take the measurements of a step by their names in the log, such as `train/loss`."""

    def rewind(self, step: int) -> None:  # noqa: B027 - need not be overridden
        """Forget what came after the checkpoint of `step`; it comes again.

        Called once before the first step; 0: the run begins. A checkpoint precedes the evaluation
        of its step.
        """

    def close(self) -> None:  # noqa: B027
        """Finish, however the run ended."""


class Sinks(Sink):
    """Several sinks, each of which may fail.

    Raises:
        TypeError: one is no `Sink`.
    """

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self._sinks, self._failed = list(sinks), list[Sink]()
        for sink in self._sinks:
            if not isinstance(sink, Sink):
                found = short_repr(sink)
                raise TypeError(f"sinks: must be objects of subclasses of Sink, got {found}")

    def write(self, step: int, values: Values) -> None:
        self._each("write", lambda sink: sink.write(step, dict(values)))

    def rewind(self, step: int) -> None:
        self._each("rewind", lambda sink: sink.rewind(step))

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
