"""Milestones: the steps that leave a checkpoint for later analysis.

They are pure functions of the step, words and tokens seen, so a resumed run has the milestones of
an uninterrupted one.
"""

import math
from bisect import bisect_right
from typing import Literal

from model_foundry.config import MilestonesConfig

MILLION = 1_000_000
# The checkpoints that the BabyLM challenge asks for (babylm-org/babylm-eval): (from, to, every), in
# millions of words. Its rule ends at 1,000; a longer run continues at the pace of the last stretch.
BABYLM = ((0, 10, 1), (10, 100, 10), (100, None, 100))


def marks_until(marks: int | list[int] | Literal["babylm"] | None, count: int) -> int:
    """Return how many marks have been passed or reached when `count` words or tokens were seen.

    Args:
        marks: the distance of evenly spaced marks, the ascending marks themselves, or the name of a
            schedule; None: no marks.
        count: 0 or more; a mark is reached when it equals it.
    """
    if marks is None:
        return 0
    if isinstance(marks, int):
        return count // marks
    if isinstance(marks, list):
        return bisect_right(marks, count)
    return _babylm_until(count)


def _babylm_until(words: int) -> int:
    passed = 0
    for start, end, every in BABYLM:
        covered = words if end is None else min(words, end * MILLION)
        passed += max(0, covered - start * MILLION) // (every * MILLION)
    return passed


def is_logarithmic(step: int, widest: int) -> bool:
    """Return True if `step` is a power of two below `widest` or a multiple of it.

    The gaps double until they would exceed `widest` steps, which need not be a power of two: for
    10, the steps are 1, 2, 4, 8, 10, 20, 30, ...
    """
    is_power = step & (step - 1) == 0
    return step % widest == 0 or (step < widest and is_power)


def steps_of_first_epoch(number: int | None, steps_per_epoch: int) -> list[int]:
    """Return the steps that divide the first epoch evenly, ascending, its last one included.

    Args:
        number: of such steps; an epoch that has fewer has one at each. None: there are none.
    """
    if number is None:
        return []
    return sorted({math.ceil(mark * steps_per_epoch / number) for mark in range(1, number + 1)})


def is_milestone(
    config: MilestonesConfig,
    *,
    step: int,
    words: tuple[int, int],
    tokens: tuple[int, int],
    steps_per_epoch: int = 1,
) -> bool:
    """Return True if a milestone is due after an optimizer step.

    Several marks within one step are one milestone.

    Args:
        step: optimizer steps made, this one included; from 1.
        words: words seen before and after this step; a mark m lies in it if before < m <= after.
        tokens: tokens seen before and after this step.
        steps_per_epoch: steps in which each example is seen once at least.
    """
    if config.logarithmic is not None and is_logarithmic(step, config.logarithmic):
        return True
    if step <= steps_per_epoch and config.first_epoch is not None:
        passed = [n * config.first_epoch // steps_per_epoch for n in (step - 1, step)]
        if passed[1] > passed[0]:
            return True
    spans = ((config.steps, (step - 1, step)), (config.words, words), (config.tokens, tokens))
    return any(
        marks_until(marks, after) > marks_until(marks, before) for marks, (before, after) in spans
    )


def number_of_milestones(
    config: MilestonesConfig, *, steps: int, words: int, tokens: int, steps_per_epoch: int = 1
) -> int:
    """Return an upper bound on the milestones of a run; several may fall on one step."""
    first_epoch = steps_of_first_epoch(config.first_epoch, steps_per_epoch)
    number = (
        bisect_right(first_epoch, steps)
        + marks_until(config.steps, steps)
        + marks_until(config.words, words)
        + marks_until(config.tokens, tokens)
    )
    widest = config.logarithmic
    if widest is not None:
        number += steps // widest + (min(widest, steps + 1) - 1).bit_length()
    return number
