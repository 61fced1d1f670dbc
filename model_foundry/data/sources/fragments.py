"""Documents as fragments, as whole texts, and as pieces.

A source yields fragments, one or several for a document, so that a file of any size is read in
bounded memory. Interventions see whole documents. The tokenizer sees pieces, whose borders depend
only on the text of the document.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

FRAGMENT = 2**20  # characters in a fragment of a long document, about
PIECE = 2**14  # characters that are tokenized at once, at most


class Fragment(NamedTuple):
    """A part of a document's text."""

    text: str
    ends: bool = True
    """True if the document ends with this part."""


def whole_documents(fragments: Iterable[Fragment]) -> Iterator[str]:
    """Join the fragments of each document."""
    parts: list[str] = []
    for text, ends in fragments:
        parts.append(text)
        if ends:
            yield "".join(parts)
            parts.clear()


def without_blank_documents(
    fragments: Iterable[Fragment], blank: Counter[str] | None = None
) -> Iterator[Fragment]:
    """Drop the documents of white space; count them in `blank`."""
    held: list[Fragment] = []  # the white space at the start of a document
    begun = False
    for fragment in fragments:
        if not begun and (not fragment.text or fragment.text.isspace()):
            held = [] if fragment.ends else [*held, fragment]
            if fragment.ends and blank is not None:
                blank["blank documents"] += 1
            continue
        yield from held
        held = []
        yield fragment
        begun = not fragment.ends


def _cut(text: str) -> int:
    """Return the end of the first piece of a long text.

    It is before a single space between two words, across which no tokenizer that splits at white
    space joins tokens. Without such a space the piece is full.
    """
    place = PIECE
    while (place := text.rfind(" ", 1, place)) > 0:
        if not text[place - 1].isspace() and not text[place + 1].isspace():
            return place
    return PIECE


class Piece(NamedTuple):
    """A text that is tokenized at once: a document, or a part of a long one."""

    text: str
    starts: bool = True
    """True if the document starts with this piece."""
    ends: bool = True
    """True if the document ends with this piece."""
    inside_word: bool = False
    """True if the piece starts within a word that began in the previous piece."""


def pieces(fragments: Iterable[Fragment]) -> Iterator[Piece]:
    """Cut long documents into pieces, independent of the borders of fragments."""
    rest, starts, inside = "", True, False
    for text, ends in fragments:
        if starts and not rest and ends and len(text) <= PIECE:  # nearly all documents
            yield Piece(text)
            continue
        text, start = rest + text, 0
        while len(text) - start > PIECE:
            end = start + _cut(text[start : start + PIECE + 1])
            yield Piece(text[start:end], starts, False, inside)
            inside = not (text[end - 1].isspace() or text[end].isspace())
            start, starts = end, False
        rest = text[start:]
        if ends:
            yield Piece(rest, starts, True, inside)
            rest, starts, inside = "", True, False
