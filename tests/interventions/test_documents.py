"""Steps on whole documents."""

from typing import Any

import pytest

from model_foundry.interventions.documents import filter_documents, filter_length
from tests.interventions.passes import taken, texts_after


def test_documents_are_kept_and_dropped_by_patterns() -> None:
    assert filter_documents("a cat", keep="cat") == "a cat"
    assert filter_documents("a dog", keep="cat") is None
    assert filter_documents("a cat", drop="cat") is None
    assert filter_documents("a cat", keep="a", drop="dog") == "a cat"
    assert filter_documents("a CAT", drop="cat") == "a CAT"
    assert filter_documents("a CAT", drop="cat", ignore_case=True) is None


@pytest.mark.parametrize(("unit", "length"), [("characters", 16), ("words", 4), ("sentences", 2)])
def test_bounds_of_length_are_inclusive(unit: Any, length: int) -> None:
    text = "A cat. Two dogs!"
    for low, high, kept in [(length, length, True), (length + 1, None, False)]:
        assert (filter_length(text, min=low, max=high, unit=unit) == text) is kept
    assert filter_length(text, max=length - 1, unit=unit) is None


def test_the_first_of_each_duplicate_stays_whatever_the_batches() -> None:
    texts = ["b", "a", "a", "b ", "b", "", "a", ""]
    assert texts_after({"step": "drop_duplicates"}, texts=texts) == ["b", "a", "b ", ""]


def test_duplicates_are_those_after_earlier_steps() -> None:
    texts = ["cat", "Cat", "CAT", "dog", "DOG"]
    steps = (
        {"step": "filter_documents", "drop": "^cat"},
        {"step": "lowercase"},
        {"step": "drop_duplicates"},
    )
    applied = taken(*steps, texts=texts)
    assert applied.texts == [(1, "cat"), (3, "dog")]
    assert [step.dropped for step in applied.report.steps] == [1, 0, 2]
