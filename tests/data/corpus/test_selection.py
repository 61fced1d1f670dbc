"""Draws of documents: exact numbers, nothing twice, the same for the same seed."""

import numpy as np
import pytest

from model_foundry.data.corpus.selection import held_out, interleaved, shuffled, within_budget

SEEDS = range(20)


@pytest.mark.parametrize("number", [1, 2, 17, 1000])
def test_every_document_is_drawn_once_in_an_order_of_the_seed(number: int) -> None:
    for seed in SEEDS:
        assert sorted(shuffled(number, seed)) == list(range(number))
        assert np.array_equal(shuffled(number, seed), shuffled(number, seed))
    if number > 10:
        assert len({tuple(shuffled(number, seed)) for seed in SEEDS}) == len(SEEDS)


def test_the_draw_is_the_one_of_every_version() -> None:
    # Written down once: another draw would make every run of an older version another experiment.
    assert shuffled(10, 1).tolist() == [8, 1, 5, 7, 2, 3, 4, 0, 6, 9]
    taken = np.ones(100, dtype=np.bool_)
    assert np.flatnonzero(held_out(taken, 10, 1)).tolist() == [3, 4, 9, 27, 29, 43, 45, 74, 79, 84]
    assert interleaved([3, 4], 1).tolist() == [1, 0, 0, 1, 0, 1, 1]


def test_as_many_documents_are_held_out_as_asked_and_all_of_them_are_taken() -> None:
    taken = np.random.default_rng(0).random(200) < 0.6
    for count in (1, 7, int(taken.sum())):
        drawn = held_out(taken, count, 3)
        assert drawn.sum() == count and not (drawn & ~taken).any()
    assert not np.array_equal(held_out(taken, 7, 3), held_out(taken, 7, 4))


def test_every_document_is_held_out_as_often_as_another() -> None:
    taken = np.ones(20, dtype=np.bool_)
    drawn = np.sum([held_out(taken, 5, seed) for seed in range(2000)], axis=0)
    assert abs(drawn - 500).max() < 5 * np.sqrt(500 * 0.75)  # five standard deviations


def test_a_budget_is_filled_until_no_document_fits_and_never_exceeded() -> None:
    for seed in SEEDS:
        sizes = np.random.default_rng(seed).integers(1, 50, size=100)
        for amount in (49, 500, 1200, int(sizes.sum())):
            room, expected = amount, np.zeros(100, dtype=np.bool_)
            for number in shuffled(100, seed):
                if sizes[number] <= room:
                    expected[number] = True
                    room -= int(sizes[number])
            taken = within_budget(sizes, amount, seed)
            assert np.array_equal(taken, expected)
            assert sizes[taken].sum() <= amount
            assert taken.all() or sizes[~taken].min() > amount - sizes[taken].sum()


def test_documents_of_size_one_fill_a_budget_exactly() -> None:
    ones = np.ones(30, dtype=np.int64)
    assert [int(within_budget(ones, amount, 0).sum()) for amount in (1, 29, 30, 99)] == [
        1,
        29,
        30,
        30,
    ]
    assert not within_budget(ones * 5, 4, 0).any()


def test_a_mixture_takes_all_of_each_corpus_in_an_order_of_the_seed() -> None:
    counts = [3, 0, 40, 11]
    for seed in SEEDS:
        labels = interleaved(counts, seed)
        assert np.bincount(labels, minlength=4).tolist() == counts
        assert np.array_equal(labels, interleaved(counts, seed))
    assert not np.array_equal(interleaved(counts, 0), interleaved(counts, 1))


def test_each_source_of_a_mixture_has_a_draw_of_its_own() -> None:
    ones = np.ones(200, dtype=np.int64)
    first, second = (within_budget(ones, 20, 0, part) for part in (0, 1))
    assert 0 < (first & second).sum() < 15
    assert np.array_equal(second, within_budget(ones, 20, 0, 1))
