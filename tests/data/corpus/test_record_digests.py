"""Hashes of records: equal for equal content of any type, and for nothing else."""

import datetime
import random
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from model_foundry.data.corpus.record_digests import digests_of
from model_foundry.data.sources.records import Column, Records
from model_foundry.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)
MIDDLE = PIXELS.copy()
MIDDLE[20, 20] ^= 1  # repr of an array leaves it out
DIFFERENT = [
    *(None, True, 1, 1.0, -1, -2, "1", b"1", "", [], {}, 1j, "None", [None], ["1"], "['1']"),
    *([1, 2], [[1], 2], [[1, 2]], ["a", "bc"], ["ab", "c"], ["a, b"], ["a", "b"], [b"a", b"b"]),
    *({"a": 1}, {"a": 2}, {"b": 1}, {"a": [1]}, {"a": {"a": 1}}, {"a": PIXELS}, {"a": MIDDLE}),
    *(PIXELS, MIDDLE, PIXELS.reshape(20, 80), PIXELS.astype(np.int16), PIXELS.T),
    *([PIXELS], [MIDDLE], [PIXELS, MIDDLE], [MIDDLE, PIXELS], np.array([["a", None]], object)),
    *(datetime.date(2000, 1, 1), datetime.datetime(2000, 1, 1), datetime.time(1), Decimal("1")),
    *("é", "e", "\ud800", b"\xff", 2**70, float("inf")),
]


def digests(*columns: Column) -> list[int]:
    named = {f"c{index}": column for index, column in enumerate(columns)}
    places = range(1, len(columns[0]) + 1)
    return digests_of(Records(columns=named, source="a.json", places=places)).tolist()


def test_different_values_have_different_hashes() -> None:
    found = digests(DIFFERENT)
    same = [(DIFFERENT[i], DIFFERENT[found.index(h)]) for i, h in enumerate(found)]
    assert len(set(found)) == len(DIFFERENT), [pair for pair in same if pair[0] is not pair[1]]
    assert digests(DIFFERENT) == found


def test_equal_values_have_equal_hashes() -> None:
    numbers = np.array([1, 2, 3])
    equal: list[tuple[Column, Column]] = [
        (numbers, [1, 2, 3]),
        (numbers, list(numbers)),
        (np.array(["a", "bcd"]), ["a", "bcd"]),
        (np.stack([PIXELS, MIDDLE]), [PIXELS, MIDDLE]),
        ([PIXELS.T], [np.ascontiguousarray(PIXELS.T)]),
        ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}]),
        ([(1, 2)], [[1, 2]]),
        ([bytearray(b"a")], [b"a"]),
        (np.array([[["ab"]]]), [np.array([["ab"]], "<U9")]),
    ]
    for one, other in equal:
        assert digests(one) == digests(other), one


def test_the_hash_is_that_of_the_whole_row() -> None:
    assert digests(["a", "b"], ["b", "a"])[0] != digests(["b", "a"], ["a", "b"])[0]
    assert digests(["ab"], ["c"]) != digests(["a"], ["bc"])
    draw = random.Random(0)
    rows = [[draw.choice(["a", "b", 1, None]) for _ in range(3)] for _ in range(99)]
    found = digests(*map(list, zip(*rows, strict=True)))
    assert len(set(found)) == len(set(map(tuple, rows)))


def test_the_hash_is_the_same_in_every_process() -> None:
    assert digests(["text"], [0.5], [np.array([[1, 2]], np.uint8)]) == [-4719184407001149803]


def test_images_are_compared_by_their_content() -> None:
    image = pytest.importorskip("PIL.Image")

    def coded(pixels: Any, mode: str = "L", colours: bytes = b"") -> Any:
        made = image.fromarray(pixels).convert(mode)
        if colours:
            made.putpalette(colours)
        return made

    different = [
        coded(PIXELS),
        coded(MIDDLE),
        coded(PIXELS, "RGB"),
        coded(PIXELS[:20].reshape(40, 20)),
    ]
    different += [coded(PIXELS, "P", bytes(768)), coded(PIXELS, "P", bytes(range(256)) * 3)]
    found = digests(different)
    assert len(set(found)) == 6
    assert digests([each.copy() for each in different]) == found
    assert digests([{"image": coded(PIXELS)}]) != digests([{"image": coded(MIDDLE)}])


class Sound:
    """A value whose repr is its address."""


@pytest.mark.parametrize("value", [Sound(), [Sound()], {"a": Sound()}, np.array([[Sound()]])])
def test_a_value_without_content_is_refused_with_its_column(value: Any) -> None:
    values = value if isinstance(value, np.ndarray) else [value]
    with pytest.raises(DataError) as caught:
        digests(values, [1])
    assert str(caught.value) == (
        "a.json: row 1: 'c0' holds a value of type tests.data.corpus.test_record_digests.Sound, "
        "which cannot be compared; give text, numbers, times, bytes, images, arrays, or lists and "
        "dicts of them"
    )
