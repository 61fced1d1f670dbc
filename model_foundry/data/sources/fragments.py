"""Documents on their way from a source to the tokenizer: as fragments, as wholes, as pieces.

A source yields fragments: a document is one or several of them, so that a file of any size is read
in bounded memory. Interventions see whole documents. The tokenizer sees pieces, whose cuts
depend on the text of the document alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

FRAGMENT = 2**20  # characters in which a source reads what is longer, about
PIECE = 2**14  # characters that are tokenised at once, at most


class Fragment(NamedTuple):
    """A stretch of a document's text."""

    text: str
    ends: bool = True
    """True if the document ends with it."""


def whole_documents(fragments: Iterable[Fragment]) -> Iterator[str]:
    """Join the fragments of each document."""
    parts: list[str] = []
    for text, ends in fragments:
        if ends and not parts:
            yield text
        elif ends:
            yield "".join([*parts, text])
            parts = []
        else:
            parts.append(text)


def without_blank_documents(
    fragments: Iterable[Fragment], blank: Counter[str] | None = None
) -> Iterator[Fragment]:
    """Leave out the documents that have nothing but white space.

    Args:
        blank: counts them; None: they are not counted.
    """
    held: list[Fragment] = []  # the white space that a document begins with
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
    """Return where the first piece of a text longer than a piece ends.

    Before a lone space between two words: no tokenizer that splits at white space joins across it.
    A stretch without such a space is cut where the piece is full.
    """
    place = PIECE
    while (place := text.rfind(" ", 1, place)) > 0:
        if not text[place - 1].isspace() and not text[place + 1].isspace():
            return place
    return PIECE


class Piece(NamedTuple):
    """A text that is tokenised at once: a document, or a part of a long one."""

    text: str
    starts: bool = True
    """True if the document starts with it."""
    ends: bool = True
    """True if the document ends with it."""
    inside_word: bool = False
    """True if it starts within a word, which began in the piece before."""


def pieces(fragments: Iterable[Fragment]) -> Iterator[Piece]:
    """Cut long documents; where they are cut depends on their text alone, not on the fragments."""
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
