"""Texts of many documents in one string, so that no step handles each document by itself.

A source yields batches of about a mebibyte, and a document of any size may span several of them.
Interventions see whole documents. The tokenizer sees pieces, whose borders depend only on the text
of the document.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise, repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PIECE = 2**14  # characters that are tokenized at once, at most

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
NONE = np.zeros(0, np.int64)
_SPACES = [c for c in range(0x3001) if chr(c).isspace()]
IS_SPACE = np.zeros(0x3002, dtype=np.bool_)
IS_SPACE[_SPACES] = True


def characters(text: str) -> NDArray[Any]:
    """Return the code points of a text, (C,)."""
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def is_space(codes: NDArray[Any]) -> Mask:
    """Return which code points are white space, as `str.isspace` has it."""
    low = codes if codes.dtype == np.uint8 else np.minimum(codes, len(IS_SPACE) - 1)
    return np.asarray(IS_SPACE[low])


def word_begins(text: str, starts: Ints, before: str = "") -> Mask:
    """Return which characters begin a word, (C,).

    Args:
        starts: where texts begin that are not joined to the characters before.
        before: the character before the text.
    """
    space = is_space(characters(text))
    begins = ~space
    begins[1:] &= space[:-1]
    if before and not before.isspace():
        begins[:1] = False
    starts = starts[starts < len(text)]
    begins[starts] = ~space[starts]
    return begins


class TextBatch(NamedTuple):
    """Consecutive documents, and parts of documents at both ends."""

    text: str
    """The joined texts."""
    ends: Ints
    """(D,) end of each document in the text. What is behind the last end belongs to a document that
    goes on in the next batch."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> "TextBatch":
        """Join whole documents."""
        return cls("".join(texts), np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts))))

    @classmethod
    def joined(cls, batches: Sequence["TextBatch"]) -> "TextBatch":
        """Join consecutive batches."""
        lengths = [len(text) for text, _ in batches]
        shifts = np.cumsum([0, *lengths])[:-1]
        ends = [ends + shift for (_, ends), shift in zip(batches, shifts, strict=True)]
        return cls("".join([text for text, _ in batches]), np.concatenate([NONE, *ends]))

    @property
    def bounds(self) -> Ints:
        """The borders of the P documents and parts, (P + 1,)."""
        last = int(self.ends[-1]) if len(self.ends) else 0
        rest = [len(self.text)] if last < len(self.text) else []
        return np.concatenate([np.zeros(1, np.int64), self.ends, np.array(rest, np.int64)])

    def parts(self) -> list[str]:
        """Return the text of each document, and that behind the last one unless it is empty."""
        text = self.text
        return [text[start:end] for start, end in pairwise(self.bounds.tolist())]

    def each(self) -> Iterator[tuple[str, bool]]:
        """Yield each of `parts` with True if the document ends with it."""
        return zip(self.parts(), chain(repeat(True, len(self.ends)), [False]), strict=False)

    def first(self, number: int) -> tuple["TextBatch", "TextBatch"]:
        """Return the first documents, and the rest."""
        end = int(self.ends[number - 1]) if number else 0
        ends, rest = self.ends[:number], self.ends[number:] - end
        return TextBatch(self.text[:end], ends), TextBatch(self.text[end:], rest)

    def pick(self, parts: Ints) -> "TextBatch":
        """Return the parts with these indices, in their order."""
        if not len(parts):
            return TextBatch("", NONE)
        text, bounds = self.text, self.bounds
        breaks = np.flatnonzero(np.diff(parts) != 1)
        starts = bounds[parts[np.append(0, breaks + 1)]].tolist()
        stops = bounds[parts[np.append(breaks, -1)] + 1].tolist()
        joined = "".join([text[start:stop] for start, stop in zip(starts, stops, strict=True)])
        ends = np.cumsum(np.diff(bounds)[parts])
        return TextBatch(joined, ends[parts < len(self.ends)])

    def take(self, kept: Mask) -> "TextBatch":
        """Return the parts for which `kept`, (P,), is true."""
        return self if kept.all() else self.pick(np.flatnonzero(kept))

    def filled(self) -> Mask:
        """Return which parts hold more than white space, (P,)."""
        bounds, text = self.bounds, self.text
        filled = np.diff(bounds) > 0
        if filled.any():
            doubtful = np.flatnonzero(filled & is_space(characters(text)[bounds[1:] - 1]))
            pairs = zip(bounds[doubtful].tolist(), bounds[doubtful + 1].tolist(), strict=True)
            filled[doubtful] = [not text[start:end].isspace() for start, end in pairs]
        return filled


def without_blank_documents(
    batches: Iterable[TextBatch], blank: Counter[str] | None = None
) -> Iterator[TextBatch]:
    """Drop the documents of white space; count them in `blank`."""
    held: list[str] = []  # the white space at the start of a document that goes on
    begun = False
    for batch in batches:
        if held:
            start = sum(map(len, held))
            if not len(batch.ends) and (not batch.text or batch.text.isspace()):
                held.append(batch.text)
                continue
            batch, held = TextBatch("".join([*held, batch.text]), batch.ends + start), []
        kept, number = batch.filled(), len(batch.ends)
        if not len(kept):
            continue
        kept[0] |= begun
        if blank is not None:
            blank["blank documents"] += int((~kept[:number]).sum())
        is_open = len(kept) > number
        begun = is_open and bool(kept[-1])
        if is_open and not begun:
            held = [batch.text[batch.ends[-1] if number else 0 :]]
        yield batch.take(kept)


# --- numbers --------------------------------------------------------------------------------------


class Numbered(NamedTuple):
    """A batch with the number of each of its documents in the corpus."""

    numbers: Ints
    """(P,) numbers, that of the text behind the last document included."""
    batch: TextBatch

    def take(self, kept: Mask) -> "Numbered":
        """Return the parts for which `kept`, (P,), is true."""
        return Numbered(self.numbers[kept], self.batch.take(kept))


def number(batches: Iterable[TextBatch]) -> Iterator[Numbered]:
    """Number the documents from 0."""
    first = 0
    for batch in batches:
        yield Numbered(first + np.arange(len(batch.bounds) - 1), batch)
        first += len(batch.ends)


def _join(held: list[Numbered]) -> Numbered:
    numbers = [numbers[: len(batch.ends)] for numbers, batch in held]
    numbers.append(held[-1].numbers[len(held[-1].batch.ends) :])
    return Numbered(np.concatenate(numbers), TextBatch.joined([batch for _, batch in held]))


def in_batches(numbered: Iterable[Numbered], size: int) -> Iterator[Numbered]:
    """Join small batches to batches of about `size` characters."""
    held: list[Numbered] = []
    length = 0
    for each in numbered:
        held.append(each)
        length += len(each.batch.text) + 16 * len(each.batch.ends)  # the overhead of a document
        if length >= size:
            yield _join(held)
            held, length = [], 0
    if held:
        yield _join(held)


def whole_documents(numbered: Iterable[Numbered]) -> Iterator[Numbered]:
    """Move the parts of documents into the batch in which the document ends."""
    held: list[Numbered] = []
    for each in numbered:
        held.append(each)
        if len(each.batch.ends):
            numbers, batch = _join(held)
            count = len(batch.ends)
            whole, rest = batch.first(count)
            yield Numbered(numbers[:count], whole)
            held = [Numbered(numbers[count:], rest)]


# --- pieces ---------------------------------------------------------------------------------------


class Pieces(NamedTuple):
    """Texts that are tokenized at once: short documents, and parts of long ones."""

    text: str
    """The joined texts."""
    ends: Ints
    """(P,) end of each piece in the text."""
    closes: Mask
    """(P,) True where the document ends with the piece."""
    before: str = ""
    """The character before the text in the same document; "": a document starts with the text."""

    @classmethod
    def whole(cls, batch: TextBatch) -> "Pieces":
        """Return whole documents as pieces, however long they are."""
        return cls(batch.text, batch.ends, np.ones(len(batch.ends), np.bool_))

    @property
    def opens(self) -> Mask:
        """(P,) True where a document starts with the piece."""
        return np.append(not self.before, self.closes[:-1])[: len(self.closes)]

    def parts(self) -> list[str]:
        """Return the text of each piece."""
        return TextBatch(self.text, self.ends).parts()


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


def _borders(batch: TextBatch) -> list[int]:
    """Return the borders of pieces within the long documents and parts of a batch."""
    text, bounds, found = batch.text, batch.bounds, []
    for part in np.flatnonzero(np.diff(bounds) > PIECE).tolist():
        start, end = int(bounds[part]), int(bounds[part + 1])
        while end - start > PIECE:
            start += _cut(text[start : start + PIECE + 1])
            found.append(start)
    return found


def pieces(batches: Iterable[TextBatch]) -> Iterator[Pieces]:
    """Cut long documents into pieces, independent of the borders of batches."""
    held = before = ""  # the start of a piece, and the character before it in its document
    for batch in batches:
        text, ends = held + batch.text, batch.ends + len(held)
        borders = np.concatenate([ends, np.array(_borders(TextBatch(text, ends)), np.int64)])
        order = np.argsort(borders, kind="stable")
        last = int(borders.max(initial=0))
        held = text[last:]
        if len(borders):
            closes = order < len(ends)
            yield Pieces(text[:last], borders[order], closes, before)
            before = "" if closes[-1] else text[last - 1]
