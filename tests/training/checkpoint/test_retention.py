"""Retention: what it never deletes, over random directories, and a few cases by hand."""

import random

import pytest

from model_foundry.training.checkpoint.retention import superseded


@pytest.mark.parametrize(
    ("limit", "best", "deleted"),
    [
        (2, None, [10, 20, 30]),
        (2, 50, [10, 20, 30]),
        (2, 40, [10, 20, 30]),
        (2, 10, [20, 30, 40]),
        (3, 10, [20, 30]),
        (3, 40, [10, 20]),
        (4, 10, [20]),
        (5, 10, []),
        (9, None, []),
        (None, 10, []),
    ],
)
def test_newest_and_best_are_kept_and_then_the_next_newest(
    limit: int | None, best: int | None, deleted: list[int]
) -> None:
    assert superseded([10, 20, 30, 40, 50], limit=limit, best=best) == deleted


def test_milestones_are_neither_deleted_nor_counted() -> None:
    steps = [10, 20, 30, 40, 50]
    assert superseded(steps, milestones=[10, 50], limit=2, best=None) == [20]
    assert superseded(steps, milestones=[10, 50], limit=2, best=10) == [20]
    assert superseded(steps, milestones=steps, limit=2, best=10) == []


def test_a_best_checkpoint_that_is_gone_takes_no_place() -> None:
    assert superseded([20, 30, 40], limit=2, best=10) == [20]


def test_where_there_is_nothing_nothing_is_deleted() -> None:
    assert superseded([], limit=2, best=None) == []
    assert superseded([], limit=2, best=7) == []


@pytest.mark.parametrize("seed", range(300))
def test_what_retention_promises_holds_for_any_directory(seed: int) -> None:
    draw = random.Random(seed)
    resumable = draw.sample(range(1, 100), k=draw.randint(1, 12))
    milestones = [step for step in range(1, 100) if draw.random() < 0.2]
    best = draw.choice([None, *resumable, 1000])
    limit = draw.randint(2, 6)
    deleted = superseded(resumable, milestones=milestones, limit=limit, best=best)
    kept = [step for step in resumable if step not in deleted]
    ordinary = [step for step in kept if step not in milestones]

    assert max(resumable) in kept
    assert best in kept or best in (None, 1000)
    assert set(deleted) <= set(resumable) - set(milestones)
    assert len(ordinary) <= limit
    if deleted:  # not more than needed, and the older before the newer
        assert len(ordinary) == limit
        assert max(deleted) < max(ordinary)
        assert all(step > max(deleted) for step in ordinary if step != best)
    assert deleted == sorted(deleted)


def test_age_is_the_step_and_not_the_place_in_the_listing() -> None:
    steps = [300, 1000, 20, 4]
    for order in (steps, sorted(steps), sorted(steps, reverse=True), sorted(steps, key=str)):
        assert superseded(order, limit=2, best=4) == [20, 300]


def test_deleting_one_by_one_comes_to_what_deleting_at_once_does() -> None:
    """A run that retains after each save keeps what one look at the whole directory keeps."""
    alive: list[int] = []
    for step in range(1, 40):
        alive = [
            s for s in [*alive, step] if s not in superseded([*alive, step], limit=3, best=None)
        ]
    assert alive == [37, 38, 39]
