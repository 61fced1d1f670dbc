"""Fragments, whole documents and pieces, which do not depend on the fragments."""

import random
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest

from model_foundry.data.sources import fragments
from model_foundry.data.sources.fragments import (
    PIECE,
    Fragment,
    Piece,
    pieces,
    whole_documents,
    without_blank_documents,
)
from tests.data.corpora import text_of

TEXTS = [text_of(60, 0), "", "one", "x" * 700, text_of(90, 1), " \n ", "a  b" * 100]


def broken(texts: list[str], seed: int) -> Iterator[Fragment]:
    """Break texts at random places, some of them into empty fragments."""
    draw = random.Random(seed)
    for text in texts:
        places = sorted(draw.randint(0, len(text)) for _ in range(draw.randint(0, 5)))
        borders = [0, *places, len(text)]
        for number, (start, end) in enumerate(pairwise(borders)):
            yield Fragment(text[start:end], number == len(places))


def cut(text: str) -> list[str]:
    return [piece.text for piece in pieces([Fragment(text)])]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(fragments, "PIECE", 64)
    return 64


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_documents_and_pieces_do_not_depend_on_the_fragments(first: int, small_pieces: int) -> None:
    expected = [piece for text in TEXTS for piece in pieces([Fragment(text)])]
    for seed in range(first, first + 50):
        assert list(whole_documents(broken(TEXTS, seed))) == TEXTS
        assert list(pieces(broken(TEXTS, seed))) == expected


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
    assert [tuple(piece)[1:] for piece in pieces(map(Fragment, ["short", long]))] == [
        (True, True, False),
        (True, False, False),
        (False, False, True),  # the word of x goes on
        (False, False, False),  # " y..."
        (False, True, True),
    ]
    assert list(pieces([Fragment("", True)])) == [Piece("")]


def test_blank_documents_are_dropped_and_counted_in_any_fragments() -> None:
    for seed in range(50):
        blank: Counter[str] = Counter()
        kept = without_blank_documents(broken([*TEXTS, "\u3000", "  x ", ""], seed), blank)
        assert list(whole_documents(kept)) == [t for t in TEXTS if t.strip()] + ["  x "]
        assert blank == {"blank documents": 4}
