"""Retention: the checkpoints that are not needed any more. Nothing is deleted here."""

from collections.abc import Iterable
from typing import Final

MIN_KEPT: Final = 2  # one would be at risk while the next one is written and verified


def superseded(
    resumable: Iterable[int],
    *,
    milestones: Iterable[int] = (),
    timed: Iterable[int] = (),
    limit: int | None,
    best: int | None,
) -> list[int]:
    """Return the steps of the checkpoints to delete, oldest first.

    The newest and the best are kept, then the next newest ones until there are `limit`. Age is the
    step: times of files change when a run is copied.

    Args:
        resumable: steps of the verified checkpoints that a run can resume from, in any order.
        milestones: steps whose checkpoint is a milestone; it is kept and does not count.
        timed: steps whose checkpoint was written because of the time only; it is kept until there
            are two newer ones, whatever the limit, and does not count.
        limit: checkpoints to keep, at least 2; None: all.
        best: step of the best checkpoint so far; None: not known. It need not be there any more.
    """
    steps = sorted(set(resumable))
    passing = set(timed) - set(milestones)
    passed = passing.intersection(steps[:-MIN_KEPT])
    if limit is None:
        return sorted(passed)
    ordinary = set(steps) - set(milestones) - passing
    best_then_newest = sorted(ordinary, key=lambda step: (step != best, -step))
    return sorted(passed.union(best_then_newest[limit:]))
