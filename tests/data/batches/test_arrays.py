"""Examples in memory: dense and ragged columns, counts by unit, and their hash."""

import random
from typing import Any

import numpy as np
import pytest

from model_foundry.data.batches.arrays import ArrayExamples, joined
from model_foundry.data.batches.examples import Ragged

SOURCES = [np.array(ids, np.uint16) for ids in ([1, 2, 3], [], [4], [5, 6])]
IMAGES = np.arange(8, dtype=np.float32).reshape(4, 2)
WORDS = np.array([2, 0, 1, 1])


def examples(**changes: Any) -> ArrayExamples:
    columns = {"source": Ragged.of(SOURCES), "image": IMAGES} | changes
    return ArrayExamples(columns, units={"tokens": "source", "words": WORDS})


def test_ragged_arrays_are_taken_as_a_list_would_be() -> None:
    draw = random.Random(0)
    for equal in (False, True):  # equal lengths take another way
        sizes = [3 if equal else draw.randrange(5) for _ in range(50)]
        arrays = [np.array(draw.choices(range(99), k=size), np.int32) for size in sizes]
        ragged = Ragged.of(arrays)
        assert (len(ragged), ragged.lengths.tolist()) == (50, sizes)
        for count in (0, 1, 20):
            chosen = draw.choices(range(50), k=count)
            taken = ragged.take(np.array(chosen, np.int64))
            assert (taken.values.dtype, taken.bounds.dtype) == (np.int32, np.int64)
            assert len(taken) == count
            for place, index in enumerate(chosen):
                assert np.array_equal(taken[place], arrays[index])


def test_examples_are_read_by_keys_in_any_pass() -> None:
    keys = [(0, 3), (7, 0), (1, 3)]
    found = examples().read(keys)
    source = found.columns["source"]
    assert isinstance(source, Ragged)
    assert [source[n].tolist() for n in range(3)] == [[5, 6], [1, 2, 3], [5, 6]]
    assert np.array_equal(found.columns["image"], IMAGES[[3, 0, 3]])  # type: ignore[arg-type]
    assert found.counts == {"tokens": 7, "words": 4}
    assert found.keys == keys


def test_the_first_examples_are_a_set_of_their_own() -> None:
    first = examples().first(2)
    assert (len(first), first.units) == (2, ("tokens", "words"))
    assert first.read([(0, 0), (0, 1)]).counts == {"tokens": 3, "words": 2}
    assert len(examples().first(9)) == 4
    assert examples().first(4).content_sha256 == examples().content_sha256


def test_examples_are_ranked_by_their_lengths_the_first_column_above_all() -> None:
    other = Ragged.of([np.zeros(size) for size in (1, 2, 1, 1)])
    columns = {"source": Ragged.of(SOURCES), "other": other}  # sources of 3, 0, 1 and 2
    ranked = ArrayExamples(columns, units={}, grouped_by=("other", "source")).lengths
    assert ranked is not None and ranked.tolist() == [2, 3, 0, 1]
    equal = ArrayExamples(columns, units={}, grouped_by=("other",)).lengths
    assert equal is not None and equal.tolist() == [0, 1, 0, 0]
    assert examples().lengths is None


def test_the_description_has_all_units() -> None:
    assert examples().describe() == "4 examples, 6 tokens, 4 words"
    assert examples().first(1).describe().startswith("1 example, ")


def test_the_hash_is_that_of_names_types_shapes_and_bytes() -> None:
    same = ArrayExamples(
        {"image": np.asfortranarray(IMAGES), "source": Ragged.of(SOURCES)},
        units={"words": WORDS, "tokens": "source"},
    )
    assert same.content_sha256 == examples().content_sha256
    moved = [SOURCES[0][:2], SOURCES[0][2:], *SOURCES[2:]]  # the same values
    others = [
        examples(source=Ragged.of(moved)),
        examples(source=Ragged.of([ids.astype(np.int64) for ids in SOURCES])),
        examples(image=IMAGES.reshape(4, 2, 1)),
        examples(image=IMAGES + 1),
        examples(picture=IMAGES),
        ArrayExamples({"source": Ragged.of(SOURCES), "image": IMAGES}, units={"tokens": WORDS}),
    ]
    assert len({each.content_sha256 for each in [same, *others]}) == 7


@pytest.mark.parametrize(
    ("columns", "units", "message"),
    [
        ({}, {}, "must be of one length"),
        ({"a": IMAGES, "b": IMAGES[:2]}, {}, "of one length, got {'a': 4, 'b': 2}"),
        ({"a": IMAGES}, {"tokens": WORDS[:2]}, "of one length, got {'a': 4, 'tokens': 2}"),
        ({"a": IMAGES}, {"tokens": "a"}, "counted by 'a', which is no ragged column"),
        ({"a": IMAGES}, {"tokens": "b"}, "counted by 'b', which is no ragged column"),
        ({"a": np.array(["x", None])}, {}, "column 'a' holds Python objects"),
        ({"a": Ragged(IMAGES, np.array([0, 2, 5]))}, {}, "'a' has 4 values, but bounds up to 5"),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    columns: dict[str, Any], units: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ArrayExamples(columns, units=units)


def test_joined_columns_are_those_of_all_rows() -> None:
    vectors = [IMAGES[:2], IMAGES[:0], IMAGES[2:3], IMAGES[1:4]]
    whole = {"ids": Ragged.of(SOURCES), "frames": Ragged.of(vectors), "image": IMAGES}
    cuts = [(0, 1), (1, 2), (2, 4)]
    parts: list[Any] = [
        {
            name: column.take(np.arange(*cut))
            for name, column in whole.items()  # type: ignore[union-attr]
            if isinstance(column, Ragged)
        }
        | {"image": IMAGES[slice(*cut)]}
        for cut in cuts
    ]
    ids = Ragged.of(SOURCES)
    parts[2]["ids"] = Ragged(ids.values, ids.bounds[2:])  # bounds that begin later
    found = ArrayExamples(joined(parts), units={"tokens": "ids"})
    assert found.content_sha256 == ArrayExamples(whole, units={"tokens": "ids"}).content_sha256


def test_a_part_of_empty_rows_has_no_say_in_type_and_shape() -> None:
    for rows in (SOURCES, [IMAGES, IMAGES[:1]]):
        empty, full = Ragged.of([np.array([])] * 2), Ragged.of(rows)
        found = joined([{"a": empty}, {"a": full}])["a"]
        assert isinstance(found, Ragged) and found.values.dtype == full.values.dtype
        assert [row.tolist() for row in found.rows()] == [[], [], *(row.tolist() for row in rows)]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([{"a": IMAGES}, {"a": Ragged.of(SOURCES)}], "'a' is ragged in some examples and dense in"),
        ([{"a": Ragged.of(SOURCES)}, {"a": IMAGES}], "'a' is ragged in some examples and dense in"),
        ([{"a": IMAGES}, {"a": IMAGES, "b": IMAGES}], "some examples have the columns 'a', others"),
        ([{"a": IMAGES, "b": IMAGES}, {"a": IMAGES}], "others 'a'"),
        (
            [{"a": IMAGES, "b": IMAGES[:3]}, {"a": IMAGES[:3], "b": IMAGES}],
            "must be of one length, got {'a': 4, 'b': 3}",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joined(parts)
