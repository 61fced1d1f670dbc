"""`SchedulePoint`: what a schedule of the learning rate knows of a run."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SchedulePoint:
    """The point of a run, after the warm-up, at which an update is made."""

    step: int
    """Updates made since the warm-up."""
    total_steps: int
    """Updates between the warm-up and the end of the run."""
    reductions: int = 0
    """Plateaus of the evaluated metric so far; see `plateau`."""

    @property
    def progress(self) -> float:
        """The share of those updates that was made, from 0 to 1."""
        return min(1.0, self.step / max(1, self.total_steps))
