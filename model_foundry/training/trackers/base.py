"""`Tracker`, the interface of a tracker, and its registration."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from model_foundry.config import TRACKERS, TrackerSpec
from model_foundry.registry import register_in
from model_foundry.training.sinks import Line, Sink, Values
from model_foundry.training.trackers.record import TrackerRecord

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A run as a tracker sees it."""

    directory: Path
    """The run directory."""
    name: str
    """`experiment_name`."""
    settings: Mapping[str, Any]
    """The settings of the experiment by dotted name, as `config.yaml` has them."""
    record: TrackerRecord
    """What the tracker keeps for later attempts, such as its own id of the run."""
    state: Callable[[], str]
    """Returns the state in `status.json`: completed, interrupted, failed or running."""


class Tracker(Sink):
    """A tracker. It is made, called and closed in one thread, for which training does not wait.

    What it raises is reported once; it gets no more calls then, but `close`. A later attempt gives
    it all lines that it may lack.

    Args:
        section: its settings, `tracking.<name>`; None: its spec has no schema.
        run: the run; `run.record` is empty in its first attempt.
    """

    def __init__(self, section: Any, run: TrackedRun) -> None:
        self.section, self.run = section, run

    @abstractmethod
    def write(self, step: int, values: Values) -> None:
        """Take the measurements of a step by their names in the log, such as `train/loss`."""

    def rewind(self, step: int) -> None:
        """Forget what has this step or a later one; all of it comes again, or will."""

    def replay(self, lines: Sequence[Line]) -> None:
        """Take lines that an earlier attempt has logged, and that may be missing here."""
        for line in lines:
            self.log(line)

    @classmethod
    def leave(cls) -> None:
        """End what would keep the process from ending, of a tracker that did not finish in time.

        Called in the thread of the training; the tracker itself hangs, perhaps while it is made.
        """

    def flush(self, step: int) -> None:
        """Store what came so far; when it returns, not even a kill of the process loses it."""


def register_tracker(
    name: str,
    *,
    schema: type[BaseModel] | None = None,
    takes: tuple[Literal["histograms", "texts"], ...] = (),
) -> Callable[[T], T]:
    """Register a subclass of `Tracker` for `tracking.trackers`.

    Args:
        schema: pydantic class of the section `tracking.<name>`; None: it has none.
        takes: what it keeps beside figures; the methods of these names get them.

    Raises:
        DuplicateNameError: the name is taken.
        TypeError: it is no `Tracker`.
    """
    return register_in(TRACKERS, TrackerSpec, name, base=Tracker, schema=schema, takes=takes)


def figures_of(values: Values) -> dict[str, float]:
    """Return the numbers among the values of a line."""
    return {name: float(value) for name, value in values.items() if not isinstance(value, str)}
