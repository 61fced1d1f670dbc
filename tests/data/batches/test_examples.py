"""Columns of examples: ragged rows taken and joined, and single examples as dictionaries."""

import numpy as np
import pytest

from model_foundry.data.batches.examples import Examples, Ragged

LENGTHS = [
    *([], [3], [0], [2, 0, 1], [0, 0, 4, 1], [1] * 9),
    np.random.default_rng(0).integers(0, 5, 40).tolist(),
]


def rows_of(lengths: list[int], dtype: str = "int64") -> list[np.ndarray]:
    values = iter(range(1, 1 + sum(lengths)))
    return [np.array([next(values) for _ in range(length)], dtype) for length in lengths]


@pytest.mark.parametrize("lengths", LENGTHS)
def test_joined_rows_are_the_rows(lengths: list[int]) -> None:
    rows = rows_of(lengths)
    ragged = Ragged.of(rows)
    assert len(ragged) == len(rows)
    assert ragged.lengths.tolist() == lengths
    assert [row.tolist() for row in ragged.rows()] == [row.tolist() for row in rows]


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool"])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_taking_rows_is_a_loop_over_them(lengths: list[int], dtype: str) -> None:
    rows, draw = rows_of(lengths, dtype), np.random.default_rng(1)
    ragged = Ragged.of(rows)
    for indices in (
        np.arange(len(rows)),
        np.arange(len(rows))[::-1],
        draw.integers(0, len(rows) or 1, 25 * bool(rows)),  # some repeatedly, others not
        np.array([], np.int64),
    ):
        taken = ragged.take(indices)
        assert [row.tolist() for row in taken.rows()] == [rows[i].tolist() for i in indices]
        assert taken.values.dtype == ragged.values.dtype and len(taken) == len(indices)


def test_empty_rows_have_no_say_in_type_and_shape() -> None:
    for row in (np.array([3, 4]), np.ones((2, 3), np.float32)):
        ragged = Ragged.of([np.array([]), row, np.array([])])  # np.array([]) is of float64
        assert ragged.values.dtype == row.dtype
        assert [each.tolist() for each in ragged.rows()] == [[], row.tolist(), []]


def test_rows_share_the_memory_of_the_column() -> None:
    ragged = Ragged.of(rows_of([2, 1]))
    ragged.rows()[1][0] = 99
    assert ragged.values.tolist() == [1, 2, 99]


def test_features_are_single_examples_with_their_keys() -> None:
    columns = {
        "input_ids": Ragged.of(rows_of([2, 0, 1])),
        "label": np.array([7, 8, 9]),
        "pixels": np.arange(12).reshape(3, 2, 2),
    }
    keys = [(0, 4), (0, 1), (1, 4)]
    features = Examples(keys=keys, columns=columns, counts={}).features()
    assert [set(feature) for feature in features] == [{"example_id", *columns}] * 3
    assert [feature["example_id"] for feature in features] == keys
    assert [feature["input_ids"].tolist() for feature in features] == [[1, 2], [], [3]]
    assert [int(feature["label"]) for feature in features] == [7, 8, 9]
    assert features[2]["pixels"].tolist() == [[8, 9], [10, 11]]
