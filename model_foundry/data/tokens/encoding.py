"""Encoding of pieces of plain text as ids, with the bytes and words that each id accounts for.

No special token is added to a text or found in it. The bytes make figures of different tokenizers
comparable (bits per byte), so they always sum to the length of the text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from model_foundry.data.sources.text_batch import Pieces, TextBatch, pieces, word_begins
from model_foundry.data.tokens.chunk_cache import CHARACTERS, LONE_SPACES, Chunks, Plain
from model_foundry.data.tokens.document_frame import document_frame
from model_foundry.data.tokens.plain_texts import PROBE, PlainTexts, unknown_ids
from model_foundry.data.tokens.text_bytes import (
    NO_TEXT,
    byte_bounds,
    bytes_before,
    text_digests,
)

TRIED = 64  # texts of a batch, the longest of which is tokenized as a whole too, to compare
DECODED = 8  # pieces of a batch that are decoded to check whether the tokenizer loses text


class CannotBeCutError(Exception):
    """A tokenizer joins tokens across spaces, so that it needs whole documents."""


@dataclass(frozen=True)
class Encoded:
    """Tokenized pieces, with the frames of documents."""

    ids: NDArray[Any]
    """(T,) token ids. This and the next two have the narrowest type that holds their values."""
    num_bytes: NDArray[Any]
    """(T,) UTF-8 bytes of source text per token. Skipped text counts for the next token, at the end
    of a piece for the last one; a document without tokens counts for the end of its frame. If
    several tokens share a character, its bytes count for the first."""
    num_words: NDArray[Any]
    """(T,) words (text between white space) that begin in each token."""
    piece_ends: NDArray[np.int64]
    """(P,) tokens up to the end of each piece."""
    digests: bytes
    """SHA-256 of the text of each piece, joined."""
    lossless: bool
    """True if all pieces can be restored from their ids; only some are decoded to check."""
    rest: tuple[int, int] = 0, 0
    """Bytes and words of text without tokens, which count for the next token."""
    unknown: tuple[int, int] = 0, 0
    """Tokens for text that the vocabulary cannot spell, and the bytes of that text."""


def _narrowest(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.min_scalar_type(int(values.max(initial=0))), copy=False)


class Encoder:
    """Encodes batches of pieces; created once, used in forked processes."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.plain = PlainTexts(tokenizer)
        self.backend = self.plain.backend
        self.before, self.after = document_frame(tokenizer)
        self._unknown = unknown_ids(tokenizer)
        self._chunks = Chunks(self.plain.encode)

    @cached_property
    def rules(self) -> list[re.Pattern[str]]:
        """The rules by which texts may be cut: the chunks have the ids of the whole.

        Empty if the tokenizer marks the start of a text, as some do with a space, or has tokens for
        several words.
        """
        finer = [CHARACTERS] if self._allows(CHARACTERS) else []
        return [*finer, LONE_SPACES] if self._allows(LONE_SPACES) else []

    @property
    def cuts(self) -> bool:
        """True if long documents may be cut before single spaces."""
        return bool(self.rules)

    def _allows(self, rule: re.Pattern[str]) -> bool:
        if rule is CHARACTERS and not self._is_within(rule):
            return False
        whole = self.backend.encode(PROBE, add_special_tokens=False).ids
        each = self.backend.encode_batch_fast(rule.findall(PROBE), add_special_tokens=False)
        return bool(whole == [index for encoding in each for index in encoding.ids])

    def _is_within(self, rule: re.Pattern[str]) -> bool:
        """Return whether each token is within a chunk, so that none can extend over two."""
        tokens = [token.decode("latin-1") for token in self.plain.table or () if token != NO_TEXT]
        return bool(tokens) and all(len(rule.findall(token)) <= 1 for token in tokens)

    def encode(self, batch: Pieces) -> Encoded:
        """Encode pieces in their order.

        Raises:
            CannotBeCutError: `cuts` is true, but this text must not be cut.
            UnicodeEncodeError: a text has a lone surrogate.
        """
        digests = text_digests(TextBatch(batch.text, batch.ends))  # refuses lone surrogates
        plain = self._encode(texts := batch.parts())
        bounds = byte_bounds(batch.text, batch.ends)
        ids, num_bytes, piece_ends, rest = self._framed(batch, plain, np.diff(bounds))
        # without the frames: GPT-2 ends documents with its unknown token
        is_unknown = np.isin(plain.ids, self._unknown)
        begun, words = self._words(batch, int(bounds[-1]), np.cumsum(num_bytes))
        return Encoded(
            ids=_narrowest(ids),
            num_bytes=_narrowest(num_bytes),
            num_words=_narrowest(np.diff(begun, prepend=0)),
            piece_ends=piece_ends,
            digests=digests,
            lossless=bool(plain.exact.all()) or self._restored(texts, plain),
            rest=(rest, words - int(begun[-1] if len(begun) else 0)),
            unknown=(int(is_unknown.sum()), int(plain.num_bytes[is_unknown].sum())),
        )

    @staticmethod
    def _words(batch: Pieces, size: int, ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Return the words that begin before each of some offsets in bytes, and all of them."""
        starts = (np.append(0, batch.ends)[:-1])[batch.opens]
        begins = word_begins(batch.text, starts, batch.before)
        if size > len(batch.text):
            places = bytes_before(batch.text)[:-1][begins]
            begins = np.zeros(size, np.bool_)
            begins[places] = True
        begun = np.append(0, np.cumsum(begins))
        return begun[ends], int(begun[-1])

    def _restored(self, texts: Sequence[str], plain: Plain) -> bool:
        first = np.split(plain.ids, np.cumsum(plain.counts)[:DECODED])[:DECODED]
        return all(
            self.backend.decode(ids.tolist(), skip_special_tokens=False) == text
            for ids, text in zip(first, texts, strict=False)
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each document with its frame."""
        batch = TextBatch.of(texts)
        if not texts:
            return []
        cut = next(pieces([batch])) if self.cuts else Pieces.whole(batch)
        try:
            plain = self._encode(cut.parts())
        except CannotBeCutError:
            self.rules.clear()
            return self.count(texts)
        ends = plain.counts.cumsum()[cut.closes]
        frame = len(self.before) + len(self.after)
        counts: list[int] = (np.diff(ends, prepend=0) + frame).tolist()
        return counts

    def _encode(self, texts: list[str]) -> Plain:
        """Encode texts by the first rule, or as a whole if there is none."""
        if not self.rules:
            return self.plain.encode(texts)
        plain = self._chunks.encode(texts, self.rules[0])
        if self.rules[0] is CHARACTERS and not plain.exact.all():
            # adjacent chunks of unknown or changed text could have a token in common
            del self.rules[0]
            return self._encode(texts)
        if not self._agrees(texts, plain):
            raise CannotBeCutError
        return plain

    def _agrees(self, texts: list[str], plain: Plain) -> bool:
        """Return whether the ids of one text of the batch are those of the whole text."""
        tried = max(range(min(len(texts), TRIED)), key=lambda n: len(texts[n]), default=None)
        if tried is None:
            return True
        end = int(plain.counts[: tried + 1].sum())
        ids = plain.ids[end - int(plain.counts[tried]) : end]
        whole: list[int] = self.backend.encode(texts[tried], add_special_tokens=False).ids
        return bool(ids.tolist() == whole)

    def _framed(
        self, batch: Pieces, plain: Plain, sizes: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
        """Add the frames of documents around the pieces; frames have no bytes.

        Args:
            sizes: (P,) UTF-8 bytes of each piece.

        Returns:
            The ids, their bytes, the end of each piece, and the bytes behind the last id.
        """
        starts = batch.opens * len(self.before)
        ends = batch.closes * len(self.after)
        piece_ends = np.cumsum(starts + plain.counts + ends)
        piece_starts = piece_ends - (starts + plain.counts + ends)
        first = np.cumsum(plain.counts) - plain.counts
        places = np.arange(len(plain.ids)) + np.repeat(piece_starts + starts - first, plain.counts)
        total = int(piece_ends[-1]) if len(piece_ends) else 0
        ids, num_bytes = np.zeros(total, np.int64), np.zeros(total + 1, np.int64)
        ids[places], num_bytes[places] = plain.ids, plain.num_bytes
        for number, index in enumerate(self.before):
            ids[piece_starts[starts > 0] + number] = index
        for number, index in enumerate(reversed(self.after), 1):
            ids[piece_ends[ends > 0] - number] = index
        empty = plain.counts == 0
        np.add.at(num_bytes, (piece_ends - batch.closes)[empty], sizes[empty])
        return ids, num_bytes[:-1], piece_ends, int(num_bytes[-1])
