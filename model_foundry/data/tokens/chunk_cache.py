"""Tokenization by chunks: text is cut at places over which no token extends, and each chunk is
tokenized once.

Text repeats its words, and the library takes several microseconds for a word. The caller checks
that a tokenizer allows the rule by which it is cut.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.tokens.ranges import Ints, positions

BORDER = "\0"  # between two texts; nearly no text has one
_WORD, _SPACE, _STRANGE = r"[^\s\0]", r"[\t-\r ]", r"[^\x00-\x7f]"
LONE_SPACES = re.compile(rf"\0|\s*{_WORD}+(?:(?! {_WORD})\s+{_WORD}*)*|\s+")
"""Chunks that begin with a single space between two words."""
# An apostrophe belongs to the letters behind it, unless it is behind another sign: `it's`, `('s`.
# What follows a character outside of ASCII is not cut, up to the next space: marks change letters.
CHARACTERS = re.compile(
    rf"\0|{_SPACE}*(?:'?[A-Za-z]+|[0-9]+|[!-/:-@\[-`{{-\x7f\x01-\x08\x0e-\x1f]+)"
    rf"(?:{_STRANGE}[^\t-\r \0]*)?|{_SPACE}*{_STRANGE}[^\t-\r \0]*|{_SPACE}+"
)
"""Chunks of letters, of digits and of signs, with the white space before them."""
MOST_KNOWN = 2**18  # chunks in the cache, at about 300 bytes
MOST_BYTES = 2**24  # of text in the cache; without spaces a chunk is as long as its text


@dataclass(frozen=True)
class Plain:
    """The ids of texts without frames."""

    ids: Ints
    """(T,) the ids of all texts."""
    num_bytes: Ints
    """(T,) UTF-8 bytes that each id accounts for."""
    counts: Ints
    """(P,) ids of each text."""
    exact: NDArray[np.bool_]
    """True where the ids of a text spell it byte for byte; (P,), or for each chunk of the texts."""

    @classmethod
    def joined(cls, parts: Sequence["Plain"]) -> "Plain":
        """Join the ids of several lists of texts."""
        columns = zip(*((p.ids, p.num_bytes, p.counts, p.exact) for p in parts), strict=True)
        return cls(*map(np.concatenate, columns))


_NO_IDS = np.zeros(0, np.int64)
NOTHING = Plain(_NO_IDS, _NO_IDS, _NO_IDS, np.zeros(0, np.bool_))


class Chunks:
    """A cache of tokenized chunks, filled by `encode`."""

    def __init__(self, encode: Callable[[Sequence[str]], Plain]) -> None:
        self._encode = encode
        self._forget()

    def _forget(self) -> None:
        one = np.zeros(1, np.int64)
        self._known = {BORDER: 0}
        self._table = Plain(_NO_IDS, _NO_IDS, one, np.ones(1, np.bool_))
        self._starts, self._bytes = one, one

    def encode(self, texts: Sequence[str], rule: re.Pattern[str]) -> Plain:
        """Tokenize texts.

        Args:
            rule: matches one chunk after the other, or a `BORDER`.
        """
        if not texts:
            return NOTHING
        if len(self._known) > MOST_KNOWN or self._bytes.sum() > MOST_BYTES:
            self._forget()
        codes = self._codes(rule.findall(BORDER.join(texts)))
        borders = np.flatnonzero(codes == 0)
        if len(borders) != len(texts) - 1:  # a text has such a character
            return self._encode(texts)
        return self._gather(codes, np.append(0, borders + 1))

    def _codes(self, chunks: list[str]) -> Ints:
        """Return the index of each chunk in the cache."""
        known = self._known
        codes = np.fromiter(map(known.get, chunks, repeat(-1)), np.int64, len(chunks))
        strange = np.flatnonzero(codes < 0)
        if len(strange):
            unknown = [chunks[at] for at in strange.tolist()]
            self._learn(list(dict.fromkeys(unknown)))
            codes[strange] = np.fromiter(map(known.__getitem__, unknown), np.int64, len(strange))
        return codes

    def _learn(self, new: list[str]) -> None:
        """Tokenize chunks and store them."""
        found, table, first = self._encode(new), self._table, len(self._starts)
        self._known.update(zip(new, range(first, first + len(new)), strict=True))
        starts = len(table.ids) + np.cumsum(found.counts) - found.counts
        sizes = np.array([len(chunk.encode()) for chunk in new], dtype=np.int64)
        self._starts = np.concatenate([self._starts, starts])
        self._bytes = np.concatenate([self._bytes, sizes])
        self._table = Plain.joined([table, found])

    def _gather(self, codes: Ints, firsts: Ints) -> Plain:
        """Join chunks into texts, which begin with the chunks at `firsts`."""
        table = self._table
        counts = table.counts[codes]
        places = positions(self._starts[codes], counts)
        num_bytes = table.num_bytes[places]
        behind = np.append(0, np.cumsum(counts))  # tokens before each chunk, and at the end
        empty = np.flatnonzero((counts == 0) & (codes > 0))
        if len(empty):
            self._assign_bytes(num_bytes, self._bytes[codes[empty]], empty, behind, firsts)
        return Plain(
            ids=table.ids[places],
            num_bytes=num_bytes,
            counts=np.diff(np.append(behind[firsts], behind[-1])),
            exact=table.exact[codes],
        )

    @staticmethod
    def _assign_bytes(
        num_bytes: Ints, sizes: Ints, empty: Ints, behind: Ints, firsts: Ints
    ) -> None:
        """Add the bytes of chunks without a token to the next token, or the last of their text."""
        texts = np.searchsorted(firsts, empty, side="right") - 1
        first = behind[firsts[texts]]
        last = np.append(behind[firsts[1:]], behind[-1])[texts]
        held = first < last
        places = np.minimum(behind[empty], last - 1)[held]
        np.add.at(num_bytes, places, sizes[held])
