"""Counters of a run: what was seen by unit, and the best evaluation."""

import math

import pytest

from model_foundry.training.state import Best, TrainState


def after(*values: float, greater_is_better: bool = False) -> TrainState:
    """Return the counters after an evaluation in each step."""
    state = TrainState()
    for value in values:
        state.count(1, {})
        state.note_evaluation("some", value, greater_is_better=greater_is_better)
    return state


@pytest.mark.parametrize(
    ("values", "greater", "value", "step", "since"),
    [
        ([3.0, 1.0, 2.0], False, 1.0, 2, 1),
        ([3.0, 1.0, 2.0], True, 3.0, 1, 2),
        ([0.1, 0.5, 0.7], True, 0.7, 3, 0),
        ([-2.0, -1.0, -3.0], True, -1.0, 2, 1),
        ([1.0, 1.0], False, 1.0, 1, 1),  # as good is no better
        ([1.0, 1.0], True, 1.0, 1, 1),
        ([math.nan, 2.0, math.nan], False, 2.0, 2, 1),
        ([math.nan, 2.0, math.inf], True, 2.0, 2, 1),
        ([2.0, -math.inf], False, 2.0, 1, 1),
    ],
)
def test_the_best_evaluation_is_that_of_the_direction(
    values: list[float], greater: bool, value: float, step: int, since: int
) -> None:
    state = after(*values, greater_is_better=greater)
    assert state.best == Best(metric="some", value=value, step=step)
    assert state.evaluations_since_best == since


def test_nothing_finite_leaves_no_best() -> None:
    state = after(math.nan, math.inf)
    assert state.best is None and state.evaluations_since_best == 2


def test_an_evaluation_that_is_made_again_counts_once() -> None:
    state = after(2.0, 3.0)
    state.note_evaluation("some", 1.0, greater_is_better=False)
    assert state.best == Best(metric="some", value=2.0, step=1)
    assert (state.evaluated_step, state.evaluations_since_best) == (2, 1)


def test_a_step_counts_its_examples_and_their_units() -> None:
    state = TrainState()
    state.count(4, {"tokens": 10, "words": 3})
    state.count(2, {"tokens": 5, "words": 1})
    assert (state.step, state.examples_seen) == (2, 6)
    assert state.seen == {"tokens": 15, "words": 4}
