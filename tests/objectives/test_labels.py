"""Labels: how many a classification needs."""

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
