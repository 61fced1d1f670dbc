"""Early stopping: the evaluation at which a run ends, by hand."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from model_foundry.training.early_stopping import EarlyStoppingHook
from model_foundry.training.state import Best, TrainState


def stopped_at(
    values: list[float],
    patience: int,
    *,
    threshold: float = 0.0,
    greater_is_better: bool = False,
    free_from: int = 0,
) -> tuple[int | None, TrainState]:
    """Evaluate after each step; return the step at which the run ends, if it does."""
    state = TrainState()
    settings = SimpleNamespace(training=SimpleNamespace(early_stopping_threshold=threshold))
    context: Any = SimpleNamespace(state=state, total_steps=len(values), config=settings)
    training: Any = SimpleNamespace(context=context)
    hook = EarlyStoppingHook(patience)
    for value in values:
        state.count(1, {})
        state.note_evaluation(
            "loss", value, greater_is_better=greater_is_better, threshold=threshold
        )
        context.may_stop = state.step >= free_from
        hook.on_start(training)
        if state.stop_reason is not None:
            return state.step, state
    return None, state


FALLING_AND_RISING = [3.0, 2.0, 2.1, 1.9, 2.0, 2.2, 2.4, 1.0, 5.0]


@pytest.mark.parametrize(
    ("values", "options", "step"),
    [
        (FALLING_AND_RISING, {"patience": 1}, 3),
        (FALLING_AND_RISING, {"patience": 2}, 6),
        (FALLING_AND_RISING, {"patience": 3}, 7),
        (FALLING_AND_RISING, {"patience": 4}, None),
        # 0.1 better is not enough, although it is the best: two without, at steps 3 and 4
        (FALLING_AND_RISING, {"patience": 2, "threshold": 0.5}, 4),
        # an improvement equals the threshold, and must exceed it
        ([3.0, 2.5, 2.0, 1.0], {"patience": 1, "threshold": 0.5}, 2),
        ([3.0, 2.25, 1.5, 0.5], {"patience": 1, "threshold": 0.5}, None),
        ([0.1, 0.5, 0.4, 0.3, 0.9], {"patience": 2, "greater_is_better": True}, 4),
        ([math.nan, math.nan, math.nan, 1.0], {"patience": 3}, 3),
        ([2.0, math.nan, math.inf, 1.0], {"patience": 2}, 3),
        # held back, it ends at the first evaluation that is free to end it
        (FALLING_AND_RISING, {"patience": 1, "free_from": 5}, 5),
        ([3.0, 4.0, 2.0, 2.5, 1.0], {"patience": 1, "free_from": 3}, 4),
        # the last step ends a run in any case
        ([1.0, 2.0, 3.0], {"patience": 2}, None),
    ],
)
def test_a_run_ends_after_evaluations_without_an_improvement(
    values: list[float], options: dict[str, Any], step: int | None
) -> None:
    assert stopped_at(values, **options)[0] == step


def test_the_reason_names_steps_evaluations_and_the_best() -> None:
    _, state = stopped_at(FALLING_AND_RISING, 2, threshold=0.5)
    assert state.stop_reason == (
        "early stopping at step 4 of 9, after 2 evaluations without an improvement by more than "
        "0.5; the best is loss 1.9000 at step 4"
    )
    assert state.best == Best(metric="loss", value=1.9, step=4)
    _, state = stopped_at([math.nan] * 3, 2)
    assert state.stop_reason is not None and state.stop_reason.endswith("; it was never finite")


def test_a_step_without_an_evaluation_ends_nothing() -> None:
    _, state = stopped_at([1.0, 2.0, 3.0], 9)
    context = SimpleNamespace(state=state, total_steps=9, may_stop=True)
    training: Any = SimpleNamespace(context=context)
    state.count(1, {})
    EarlyStoppingHook(1).on_start(training)
    assert state.stop_reason is None
