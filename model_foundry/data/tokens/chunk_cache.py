"""Tokenization by chunks: text is cut before its single spaces, and each chunk is tokenized once.

Text repeats its words, and most tokenizers do not join tokens across the spaces between them. The
caller checks that a tokenizer allows it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.tokens.ranges import Ints, positions

LONE_SPACE = re.compile(r" (?<=\S )(?=\S)")  # begins with the fastest search
MOST_KNOWN = 2**18  # chunks in the cache, at about 300 bytes


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
    """(P,) True where the ids of a text spell it byte for byte."""


class Chunks:
    """A cache of tokenized chunks, filled by `encode`."""

    def __init__(self, encode: Callable[[Sequence[str]], Plain]) -> None:
        self._encode = encode
        self._forget()

    def _forget(self) -> None:
        # chunks after a space are stored without it, separately from those that begin a text
        self._following: dict[str, int] = {}
        self._beginning: dict[str, int] = {}
        self._table = self._encode([])
        self._starts, self._bytes = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def encode(self, texts: Sequence[str]) -> Plain:
        """Tokenize texts."""
        split = [LONE_SPACE.split(text) for text in texts]
        begin = [parts[0] for parts in split]
        follow = list(chain.from_iterable(parts[1:] for parts in split))
        if len(self._starts) > MOST_KNOWN:
            self._forget()
        chunks = np.array([len(parts) for parts in split], dtype=np.int64)
        firsts = np.cumsum(chunks) - chunks
        codes = np.empty(int(chunks.sum()), dtype=np.int64)
        is_first = np.zeros(len(codes), dtype=np.bool_)
        is_first[firsts] = True
        codes[is_first] = self._codes(begin, self._beginning, "")
        codes[~is_first] = self._codes(follow, self._following, " ")
        return self._gather(codes, firsts)

    def _codes(self, chunks: list[str], known: dict[str, int], prefix: str) -> Ints:
        """Return the index of each chunk in the cache."""
        codes = np.fromiter(map(known.get, chunks, repeat(-1)), np.int64, len(chunks))
        strange = np.flatnonzero(codes < 0).tolist()
        if strange:
            self._learn(list(dict.fromkeys(chunks[at] for at in strange)), known, prefix)
            codes[strange] = [known[chunks[at]] for at in strange]
        return codes

    def _learn(self, new: list[str], known: dict[str, int], prefix: str) -> None:
        """Tokenize chunks and store them."""
        found, table = self._encode([prefix + chunk for chunk in new]), self._table
        first = len(self._starts)
        known.update((chunk, first + number) for number, chunk in enumerate(new))
        starts = len(table.ids) + np.cumsum(found.counts) - found.counts
        sizes = [len(prefix) + len(chunk.encode()) for chunk in new]
        self._starts = np.concatenate([self._starts, starts])
        self._bytes = np.concatenate([self._bytes, np.array(sizes, dtype=np.int64)])
        self._table = Plain(
            np.concatenate([table.ids, found.ids]),
            np.concatenate([table.num_bytes, found.num_bytes]),
            np.concatenate([table.counts, found.counts]),
            np.concatenate([table.exact, found.exact]),
        )

    def _gather(self, codes: Ints, firsts: Ints) -> Plain:
        """Join chunks into texts, which begin with the chunks at `firsts`."""
        table = self._table
        counts = table.counts[codes]
        places = positions(self._starts[codes], counts)
        num_bytes = table.num_bytes[places]
        of_texts = np.add.reduceat(counts, firsts) if len(firsts) else counts
        exact = table.exact[codes]
        if not counts.all():
            self._assign_bytes(num_bytes, codes, counts, firsts)
        return Plain(
            ids=table.ids[places],
            num_bytes=num_bytes,
            counts=of_texts,
            exact=np.logical_and.reduceat(exact, firsts) if len(firsts) else exact,
        )

    def _assign_bytes(self, num_bytes: Ints, codes: Ints, counts: Ints, firsts: Ints) -> None:
        """Add the bytes of chunks without a token to the next token, or the last of their text."""
        behind = np.cumsum(counts)  # tokens up to the end of each chunk
        ends = np.append(firsts[1:], len(codes))  # of the texts, in chunks
        for chunk in np.flatnonzero(counts == 0):
            text = int(np.searchsorted(firsts, chunk, side="right")) - 1
            first = int(behind[firsts[text]] - counts[firsts[text]])
            last = int(behind[ends[text] - 1])
            if first < last:
                num_bytes[min(int(behind[chunk]), last - 1)] += self._bytes[codes[chunk]]
