"""Milestones by value: the marks are the specification."""

import random
from itertools import accumulate, pairwise
from typing import Any

import pytest

from model_foundry.config import MilestonesConfig
from model_foundry.training.milestones import is_milestone, number_of_milestones
from tests.waiting import computing_less_than

MILLION = 1_000_000
BABYLM = [*range(1, 11), *range(20, 101, 10), *range(200, 1001, 100)]  # millions of words
STILL = (0, 0)


def steps_due(horizon: int, **settings: Any) -> list[int]:
    """Return the steps up to `horizon` that leave a milestone, in a run that sees nothing."""
    config = MilestonesConfig(**settings)
    steps = range(1, horizon + 1)
    return [step for step in steps if is_milestone(config, step=step, words=STILL, tokens=STILL)]


def words_due(words: Any, seen: list[int]) -> list[int]:
    """Return the counts among `seen`, the words after each step, at which a milestone is left."""
    config = MilestonesConfig(words=words)
    spans = enumerate(pairwise([0, *seen]), 1)
    return [
        span[1] for step, span in spans if is_milestone(config, step=step, words=span, tokens=STILL)
    ]


def test_without_settings_there_is_no_milestone() -> None:
    assert steps_due(100) == []
    config = MilestonesConfig(save_only_model=False)
    assert not is_milestone(config, step=1, words=(0, 10**10), tokens=(0, 10**10))


def test_listed_steps_are_milestones_in_whatever_order() -> None:
    assert steps_due(100, steps=[70, 3, 3, 1]) == [1, 3, 70]


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        (1, [*range(1, 21)]),
        (2, [1, *range(2, 21, 2)]),
        (3, [1, 2, 3, 6, 9, 12, 15, 18]),
        (8, [1, 2, 4, 8, 16]),
        (10, [1, 2, 4, 8, 10, 20]),
        (100, [1, 2, 4, 8, 16]),
    ],
)
def test_powers_of_two_are_followed_by_even_gaps(every: int, steps: list[int]) -> None:
    assert steps_due(20, logarithmic=every) == steps


@pytest.mark.parametrize("every", [1, 2, 3, 7, 64, 100, 1000])
def test_no_gap_of_the_logarithmic_series_is_wider_than_was_set(every: int) -> None:
    found = steps_due(4 * every, logarithmic=every)
    gaps = [after - before for before, after in pairwise(found)]
    assert max(gaps) == every
    assert found[-1] == 4 * every


def test_every_so_many_words_is_a_milestone_at_the_step_that_reaches_the_mark() -> None:
    assert words_due(10, [9, 10, 11, 19, 21, 29]) == [10, 21]


def test_a_mark_is_counted_once_when_a_step_ends_on_it() -> None:
    assert words_due([10], [4, 10, 16]) == [10]
    assert words_due("babylm", [999_999, MILLION, MILLION + 1]) == [MILLION]


def test_several_marks_within_a_step_are_one_milestone() -> None:
    assert words_due(10, [35, 39, 95]) == [35, 95]
    assert words_due([10, 20, 30], [35, 90]) == [35]
    assert words_due("babylm", [25 * MILLION, 29 * MILLION]) == [25 * MILLION]


def test_a_step_that_sees_nothing_leaves_no_milestone() -> None:
    assert words_due(10, [10, 10, 10]) == [10]


def test_babylm_is_each_million_to_ten_each_ten_to_a_hundred_and_then_each_hundred() -> None:
    seen = [half * MILLION // 2 for half in range(1, 2 * 1300)]
    due = [count // MILLION for count in words_due("babylm", seen)]
    assert due == [*BABYLM, 1100, 1200]
    assert len(BABYLM) == 28


@pytest.mark.parametrize("seed", range(20))
def test_babylm_is_the_list_of_its_marks_whatever_a_step_holds(seed: int) -> None:
    draw = random.Random(seed)
    widest = 10 ** draw.randint(5, 9)
    seen = list(accumulate(draw.randint(0, widest) for _ in range(300)))
    seen = [count for count in seen if count < 1100 * MILLION]
    listed = [mark * MILLION for mark in BABYLM]
    assert words_due("babylm", seen) == words_due(listed, seen)


@pytest.mark.parametrize("seed", range(20))
def test_a_mark_is_due_exactly_where_it_lies_within_the_step(seed: int) -> None:
    draw = random.Random(seed)
    seen = list(accumulate(draw.randint(0, 30) for _ in range(200)))
    marks = draw.sample(range(1, 2000), k=40)
    every = draw.randint(1, 60)
    spans = list(pairwise([0, *seen]))
    assert words_due(marks, seen) == [b for a, b in spans if any(a < m <= b for m in marks)]
    assert words_due(every, seen) == [
        b for a, b in spans if any(count % every == 0 for count in range(a + 1, b + 1))
    ]


def test_tokens_have_marks_of_their_own() -> None:
    config = MilestonesConfig(words=[10], tokens=50)
    assert is_milestone(config, step=1, words=(10, 20), tokens=(40, 50))
    assert is_milestone(config, step=1, words=(9, 10), tokens=(0, 49))
    assert not is_milestone(config, step=1, words=(10, 50), tokens=(10, 49))


def test_a_resumed_run_has_the_milestones_of_an_uninterrupted_one() -> None:
    settings = {"steps": [5, 33], "logarithmic": 10, "words": 70, "tokens": [100, 500]}
    config = MilestonesConfig(**settings)

    def due(step: int) -> bool:
        words, tokens = (9 * step - 9, 9 * step), (11 * step - 11, 11 * step)
        return is_milestone(config, step=step, words=words, tokens=tokens)

    whole = [step for step in range(1, 61) if due(step)]
    assert [step for step in range(60, 0, -1) if due(step)] == whole[::-1]
    assert whole == [1, 2, 4, 5, 8, 10, 16, 20, 24, 30, 32, 33, 39, 40, 46, 47, 50, 55, 60]


def test_a_late_step_is_judged_as_fast_as_an_early_one() -> None:
    marks = list(range(1000, 101_000))
    config = MilestonesConfig(steps=marks, words=marks, tokens=1, logarithmic=2**30)
    late = 10**15
    with computing_less_than(0.5):
        for step in range(2**30 + 1, 2**30 + 2001):
            is_milestone(config, step=step, words=(late, late), tokens=(late, late))


# --- the first epoch ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "epoch", "steps"),
    [
        (20, 100, [*range(5, 101, 5)]),
        (1, 7, [7]),
        (3, 10, [4, 7, 10]),
        (4, 10, [3, 5, 8, 10]),
        (5, 3, [1, 2, 3]),
        (7, 7, [1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_milestones_divide_the_first_epoch_evenly(
    number: int, epoch: int, steps: list[int]
) -> None:
    config = MilestonesConfig(first_epoch=number)
    due = [
        step
        for step in range(1, 3 * epoch)
        if is_milestone(config, step=step, words=STILL, tokens=STILL, steps_per_epoch=epoch)
    ]
    assert due == steps and config.has_any
    gaps = {after - before for before, after in pairwise([0, *steps])}
    assert max(gaps) - min(gaps) <= 1
    for end in (1, epoch // 2, epoch, 5 * epoch):
        counted = number_of_milestones(config, steps=end, words=0, tokens=0, steps_per_epoch=epoch)
        assert counted == sum(step <= end for step in steps)
