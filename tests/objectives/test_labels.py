"""Labels: how many a classification needs, and numbers among them."""

import pytest

from model_foundry.errors import DataError
from model_foundry.objectives.labels import Labels


def test_labels_are_numbered_in_sorted_order() -> None:
    assert Labels.of(["b", "a", "b"]).names == ["a", "b"]
    assert Labels.of(["b", "b"], several=True).names == ["b"]


@pytest.mark.parametrize(
    ("given", "several", "law"),
    [
        (["b", "b"], False, r"^data.train: .* have one label only \('b'\), .*; give them rows of"),
        ([], False, "have no label, so that there is nothing to learn; give"),
        ([], True, "have no label, so that there is nothing to learn; give"),
    ],
)
def test_too_few_labels_are_refused(given: list[str], several: bool, law: str) -> None:
    with pytest.raises(DataError, match=law):
        Labels.of(given, several=several)


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        (["neg", "pos", "nan"], ["nan"]),
        (["1.5", "2.5"], ["1.5", "2.5"]),
        (["0", "1", "nan"], ["0", "1", "nan"]),
        (["1", "pos"], ["1"]),
        (["0", "1", "-1"], []),
        (["neg", "pos", "1st"], []),
    ],
)
def test_numbers_are_warned_of_unless_all_are_integers(
    given: list[str], numbers: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    Labels.of(given)
    told = [each.message for each in caplog.records]
    assert len(told) == bool(numbers)
    named = ", ".join(map(repr, numbers))
    assert all(f" {len(numbers)} read as numbers ({named}), but not all " in each for each in told)
