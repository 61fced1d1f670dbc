"""Encoding of pieces of plain text as ids, with the bytes and words that each id accounts for.

No special token is added to a text or found in it. The bytes make figures of different tokenizers
comparable (bits per byte), so they always sum to the length of the text.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from model_foundry.data.sources.fragments import Fragment, Piece, pieces
from model_foundry.data.tokens.chunk_cache import LONE_SPACE, Chunks, Plain
from model_foundry.data.tokens.document_frame import document_frame
from model_foundry.data.tokens.text_bytes import bytes_of_ids, count_bytes, text_digest, word_starts

TRIED = 64  # texts of a batch, the longest of which is tokenized as a whole too, to compare
PROBE = (
    'One of the first of these, and it is not to be the last: 3 000 of 12,5 (in the "old" one)!\n'
    "At the same time it's as good as it can be ; na\u00efve \u6771\u4eac  \u3000 and - so on ...\n"
)
DECODED = 8  # pieces of a batch that are decoded to check whether the tokenizer loses text


class _Framed(NamedTuple):
    ids: NDArray[np.uint32]
    num_bytes: NDArray[np.int64]
    piece_ends: NDArray[np.int64]
    rest: int


class CannotBeCutError(Exception):
    """A tokenizer joins tokens across spaces, so that it needs whole documents."""


@dataclass(frozen=True)
class Encoded:
    """Tokenized pieces, with the frames of documents."""

    ids: NDArray[np.uint32]
    """(T,) token ids."""
    num_bytes: NDArray[np.int64]
    """(T,) UTF-8 bytes of source text per token. Skipped text counts for the next token, at the end
    of a piece for the last one; a document without tokens counts for the end of its frame. If
    several tokens share a character, its bytes count for the first."""
    num_words: NDArray[np.int64]
    """(T,) words (text between white space) that begin in each token."""
    piece_ends: NDArray[np.int64]
    """(P,) tokens up to the end of each piece."""
    digests: list[bytes]
    """`text_digest` of each piece."""
    lossless: bool
    """True if all pieces can be restored from their ids; only some are decoded to check."""
    rest: tuple[int, int] = 0, 0
    """Bytes and words of text without tokens, which count for the next token."""
    unknown: tuple[int, int] = 0, 0
    """Tokens for text that the vocabulary cannot spell, and the bytes of that text."""


def unknown_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids for text that the vocabulary cannot spell; most tokenizers have one."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    named = model.get("unk_token")
    ids = {
        tokenizer.unk_token_id,
        model.get("unk_id"),
        None if named is None else tokenizer.backend_tokenizer.token_to_id(named),
    }
    return sorted(index for index in ids if index is not None)


def trims_offsets(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the post-processing steps of a tokenizer's JSON state that change offsets."""
    last = state["post_processor"] or {}
    steps = last["processors"] if last.get("type") == "Sequence" else [last]
    return [
        {"add_prefix_space": step["add_prefix_space"]} for step in steps if step.get("trim_offsets")
    ]


def _plain_text_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Return a copy that neither finds special tokens in a text nor truncates or pads it."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return backend


class Encoder:
    """Encodes batches of pieces; created once, used in forked processes."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.backend = _plain_text_backend(tokenizer)
        self.before, self.after = document_frame(tokenizer)
        self._unknown = unknown_ids(tokenizer)
        self._table = bytes_of_ids(tokenizer)
        self._lengths = np.array([len(text) for text in self._table or ()], dtype=np.int64)
        self._chunks = Chunks(self._whole)

    @cached_property
    def cuts(self) -> bool:
        """True if the parts of a text, cut before single spaces, have the ids of the whole.

        False if the tokenizer marks the start of a text, as some do with a space, or has tokens for
        several words.
        """
        parts = LONE_SPACE.split(PROBE)
        whole = self.backend.encode(PROBE, add_special_tokens=False).ids
        chunks = [parts[0], *(f" {part}" for part in parts[1:])]
        each = self.backend.encode_batch_fast(chunks, add_special_tokens=False)
        return bool(whole == [index for encoding in each for index in encoding.ids])

    def encode(self, batch: Sequence[Piece]) -> Encoded:
        """Encode pieces in their order.

        Raises:
            CannotBeCutError: `cuts` is true, but this text must not be cut.
            UnicodeEncodeError: a text has a lone surrogate.
        """
        digests = [text_digest(piece.text) for piece in batch]  # first: refuses lone surrogates
        plain = self._encode([piece.text for piece in batch])
        framed = self._framed(batch, plain)
        # without the frames: GPT-2 ends documents with its unknown token
        is_unknown = np.isin(plain.ids, self._unknown)
        places, ends = word_starts(batch), np.cumsum(framed.num_bytes)
        begun = np.searchsorted(places, ends, side="left")
        return Encoded(
            ids=framed.ids,
            num_bytes=framed.num_bytes,
            num_words=np.diff(begun, prepend=0),
            piece_ends=framed.piece_ends,
            digests=digests,
            lossless=bool(plain.exact.all()) or self._restored(batch, plain),
            rest=(framed.rest, len(places) - int(begun[-1] if len(begun) else 0)),
            unknown=(int(is_unknown.sum()), int(plain.num_bytes[is_unknown].sum())),
        )

    def _restored(self, batch: Sequence[Piece], plain: Plain) -> bool:
        first = np.split(plain.ids, np.cumsum(plain.counts)[:DECODED])[:DECODED]
        return all(
            self.backend.decode(ids.tolist(), skip_special_tokens=False) == piece.text
            for ids, piece in zip(first, batch, strict=False)
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each document with its frame."""
        cut = list(pieces(map(Fragment, texts)) if self.cuts else map(Piece, texts))
        try:
            plain = self._encode([piece.text for piece in cut])
        except CannotBeCutError:
            self.cuts = False
            return self.count(texts)
        ends = plain.counts.cumsum()[[piece.ends for piece in cut]]
        frame = len(self.before) + len(self.after)
        counts: list[int] = (np.diff(ends, prepend=0) + frame).tolist()
        return counts

    def _encode(self, texts: list[str]) -> Plain:
        if not self.cuts:
            return self._whole(texts)
        plain = self._chunks.encode(texts)
        self._compare(texts, plain)
        return plain

    def _compare(self, texts: list[str], plain: Plain) -> None:
        """Compare the ids of one text of the batch with those of the whole text."""
        tried = max(range(min(len(texts), TRIED)), key=lambda n: len(texts[n]), default=None)
        if tried is None:
            return
        end = int(plain.counts[: tried + 1].sum())
        ids = plain.ids[end - int(plain.counts[tried]) : end]
        whole = self.backend.encode(texts[tried], add_special_tokens=False).ids
        if ids.tolist() != whole:
            raise CannotBeCutError

    def _whole(self, texts: Sequence[str]) -> Plain:
        """Encode whole texts with the library."""
        if self._table is None:
            return self._with_offsets(texts)
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        each = [encoding.ids for encoding in encodings]
        restored = [b"".join(map(self._table.__getitem__, ids)) for ids in each]
        exact = [text.encode() == bytes_ for text, bytes_ in zip(texts, restored, strict=True)]
        if not all(exact):  # some ids are unknown, or text was normalized
            return self._with_offsets(texts, exact)
        flat = np.array(list(chain.from_iterable(each)), dtype=np.int64)
        counts = np.array([len(ids) for ids in each], dtype=np.int64)
        return Plain(flat, self._lengths[flat], counts, np.array(exact, dtype=np.bool_))

    def _with_offsets(self, texts: Sequence[str], exact: Sequence[bool] | None = None) -> Plain:
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        sizes = [np.empty(0, np.int64)]
        for text, encoding in zip(texts, encodings, strict=True):
            ends = np.fromiter(map(itemgetter(1), encoding.offsets), np.int64, len(encoding.ids))
            sizes.append(count_bytes(text, ends))
        return Plain(
            np.array([index for e in encodings for index in e.ids], dtype=np.int64),
            np.concatenate(sizes),
            np.array([len(e.ids) for e in encodings], dtype=np.int64),
            np.array(exact or [False] * len(texts), dtype=np.bool_),
        )

    def _framed(self, batch: Sequence[Piece], plain: Plain) -> _Framed:
        """Add the frames of documents around the pieces; frames have no bytes."""
        starts = np.array([piece.starts for piece in batch], dtype=np.int64) * len(self.before)
        ends = np.array([piece.ends for piece in batch], dtype=np.int64) * len(self.after)
        piece_ends = np.cumsum(starts + plain.counts + ends)
        piece_starts = piece_ends - (starts + plain.counts + ends)
        first = np.cumsum(plain.counts) - plain.counts
        places = np.arange(len(plain.ids)) + np.repeat(piece_starts + starts - first, plain.counts)
        total = int(piece_ends[-1]) if len(piece_ends) else 0
        ids, num_bytes = np.zeros(total, np.uint32), np.zeros(total, np.int64)
        ids[places], num_bytes[places] = plain.ids, plain.num_bytes
        for number, index in enumerate(self.before):
            ids[piece_starts[starts > 0] + number] = index
        for number, index in enumerate(reversed(self.after), 1):
            ids[piece_ends[ends > 0] - number] = index
        rest = 0
        for number in np.flatnonzero(plain.counts == 0).tolist():
            size = len(batch[number].text.encode())
            place = int(piece_ends[number]) - (1 if batch[number].ends else 0)
            if place < total:
                num_bytes[place] += size
            else:
                rest += size
        return _Framed(ids, num_bytes, piece_ends, rest)
