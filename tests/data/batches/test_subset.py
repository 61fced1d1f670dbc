"""A subset reads the examples of its set under numbers of its own."""

import numpy as np
import pytest

from model_foundry.data.batches.arrays import ArrayExamples
from model_foundry.data.batches.examples import Ragged
from model_foundry.data.batches.subset import Subset, drawn


@pytest.fixture
def whole() -> ArrayExamples:
    rows = Ragged.of([np.full(length, length) for length in range(1, 9)])
    return ArrayExamples({"row": rows}, units={"tokens": "row"}, grouped_by=["row"])


def test_it_reads_what_it_has_chosen(whole: ArrayExamples) -> None:
    some = Subset(whole, np.array([1, 4, 6]))
    assert len(some) == 3
    found = some.read([(2, 2), (0, 0)])
    assert found.keys == [(2, 6), (0, 1)]
    assert [row[0] for row in found.columns["row"].rows()] == [7, 2]
    assert found.counts == {"tokens": 9}
    assert some.units == ("tokens",)
    assert some.lengths.tolist() == [1, 4, 6]
    assert some.describe() == "3 of 8 examples"


def test_its_totals_are_its_share(whole: ArrayExamples) -> None:
    assert whole.totals == {"tokens": 36}
    assert Subset(whole, np.arange(2)).totals == {"tokens": 9}


def test_every_pass_may_be_the_first(whole: ArrayExamples) -> None:
    some = Subset(whole, np.array([3]), first_pass=True)
    assert some.read([(5, 0)]).keys == [(0, 3)]


def test_its_hash_is_that_of_set_and_choice(whole: ArrayExamples) -> None:
    digests = {
        Subset(whole, np.array(chosen)).content_sha256 for chosen in ([0, 1], [0, 2], [0, 1])
    }
    assert len(digests) == 2
    assert whole.content_sha256 not in digests


def test_a_draw_is_of_all_and_ascends() -> None:
    numbers = drawn(40, of=1000, seed=3)
    assert numbers.tolist() == sorted(set(numbers.tolist()))
    assert len(numbers) == 40
    assert numbers.min() < 250 and numbers.max() > 750
    assert drawn(40, of=1000, seed=3).tolist() == numbers.tolist()
    assert drawn(40, of=1000, seed=4).tolist() != numbers.tolist()
    assert drawn(9, of=9, seed=1).tolist() == [*range(9)]
