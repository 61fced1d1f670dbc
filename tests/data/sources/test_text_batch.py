"""Batches of texts: whatever their borders, the same documents, numbers and pieces."""

import random
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from model_foundry.data.sources import text_batch
from model_foundry.data.sources.fragments import Fragment, in_text_batches
from model_foundry.data.sources.text_batch import (
    PIECE,
    TextBatch,
    in_batches,
    number,
    pieces,
    whole_documents,
    without_blank_documents,
    word_begins,
)
from tests.data.corpora import joined, text_of

TEXTS = [text_of(60, 0), "", "one", "x" * 700, text_of(90, 1), " \n ", "a  b" * 100]


def broken(texts: list[str], seed: int) -> Iterator[TextBatch]:
    """Break texts at random places; an end at a border is in either batch."""
    draw = random.Random(seed)
    text, ends = TextBatch.of(texts)
    events = sorted(draw.randint(0, len(text)) for _ in range(draw.randint(0, 12)))
    given = 0
    for start, stop in pairwise([0, *events, len(text)]):
        later = draw.random() < 0.5 and stop < len(text)
        last = int(np.searchsorted(ends, stop, side="left" if later else "right"))
        yield TextBatch(text[start:stop], ends[given:last] - start)
        given = last


def cut(text: str) -> list[str]:
    return [piece for each in pieces([TextBatch.of([text])]) for piece in each.parts()]


def flat(texts: list[str], seed: int | None) -> list[tuple[str, bool, bool, str]]:
    """Return the pieces of texts, with all that is known of each."""
    batches = [TextBatch.of(texts)] if seed is None else broken(texts, seed)
    found = []
    for each in pieces(batches):
        before = each.before
        for text, opens, closes in zip(
            each.parts(), each.opens.tolist(), each.closes.tolist(), strict=True
        ):
            found.append((text, opens, closes, "" if opens else before))
            before = text[-1:]
    return found


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(text_batch, "PIECE", 64)
    return 64


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_documents_and_pieces_do_not_depend_on_the_batches(first: int, small_pieces: int) -> None:
    for seed in range(first, first + 50):
        batches = list(broken(TEXTS, seed))
        assert joined(batches) == TEXTS
        whole = list(whole_documents(number(batches)))
        assert [text for _, batch in whole for text in batch.parts()] == TEXTS
        assert [n for numbers, _ in whole for n in numbers.tolist()] == list(range(len(TEXTS)))
        assert flat(TEXTS, seed) == flat(TEXTS, None)


def test_pieces_are_the_text_and_none_is_too_long(small_pieces: int) -> None:
    for text in TEXTS:
        found = cut(text)
        assert "".join(found) == text
        assert all(len(piece) <= small_pieces for piece in found)


def test_a_long_text_is_cut_before_its_last_lone_space_that_fits() -> None:
    text = "ab cd" * (PIECE // 5) + " ef" * 10
    assert cut(text)[0] == text[: text.rindex(" ", 0, PIECE)]
    assert cut(text)[1].startswith(" ") and not cut(text)[1][1].isspace()
    assert cut("x" * PIECE) == ["x" * PIECE]
    assert cut("x" * (PIECE + 1)) == ["x" * PIECE, "x"]


@pytest.mark.parametrize("space", ["  ", " \n", "\n ", " \u3000", "\u3000", "\n", "\x1f "])
def test_a_text_is_cut_only_at_single_spaces(space: str) -> None:
    text = "a" * 100 + " " + "b" * (PIECE - 200) + space + "c" * 100 + space + "d" * 400
    assert len(cut(text)[0]) == 100


def test_a_piece_knows_its_position_in_the_document() -> None:
    long = "x" * (PIECE + 5) + " y" + "z" * PIECE
    assert [found[1:] for found in flat(["short", long], None)] == [
        (True, True, ""),
        (True, False, ""),
        (False, False, "x"),
        (False, False, "x"),  # " y..."
        (False, True, "z"),
    ]
    assert flat([""], None) == [("", True, True, "")]


def test_blank_documents_are_dropped_and_counted_in_any_batches() -> None:
    for seed in range(200):
        blank: Counter[str] = Counter()
        batches = broken([*TEXTS, "\u3000", "  x ", "", "\t\n y"], seed)
        kept = without_blank_documents(batches, blank)
        assert joined(kept) == [t for t in TEXTS if t.strip()] + ["  x ", "\t\n y"]
        assert blank == {"blank documents": 4}


def test_documents_that_are_picked_keep_their_text_in_any_order() -> None:
    draw, batch = random.Random(0), TextBatch.of(TEXTS)
    for _ in range(100):
        order = draw.sample(range(len(TEXTS)), draw.randint(0, len(TEXTS)))
        assert batch.pick(np.array(order, np.int64)).parts() == [TEXTS[at] for at in order]
    opened = TextBatch("abcd", np.array([1, 3]))
    assert opened.parts() == ["a", "bc", "d"]
    assert opened.take(np.array([True, False, True])) == TextBatch("ad", np.array([1]))
    assert list(opened.each()) == [("a", True), ("bc", True), ("d", False)]


def test_small_batches_are_joined_and_their_numbers_kept() -> None:
    for seed in range(50):
        numbered = list(in_batches(number(broken(TEXTS, seed)), 300))
        assert joined([batch for _, batch in numbered]) == TEXTS
        for numbers, batch in numbered:
            assert len(numbers) == len(batch.parts())
        assert all(len(batch.text) >= 200 for _, batch in numbered[:-1])


def test_fragments_are_joined_to_batches() -> None:
    texts = ["b", "", "c" * 2**20, "d"]
    batches = list(in_text_batches([Fragment("a", False), *map(Fragment, texts)]))
    assert [len(batch.text) for batch in batches] == [2**20 + 2, 1]
    assert joined(batches) == ["ab", "", "c" * 2**20, "d"]


@pytest.mark.parametrize("seed", range(20))
def test_words_begin_where_python_splits_them(seed: int) -> None:
    texts = [text_of(20, seed), "", "\x1c a\u2028b", "é x", text_of(3, seed + 1)]
    batch = TextBatch.of(texts)
    begins = word_begins(batch.text, batch.bounds[:-1])
    counts = np.diff(np.append(0, np.cumsum(begins))[batch.bounds])
    assert counts.tolist() == [len(text.split()) for text in texts]
    assert word_begins("ab", np.zeros(0, np.int64), "x").sum() == 0
    assert word_begins("ab", np.zeros(0, np.int64), " ").sum() == 1
