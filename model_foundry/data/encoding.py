"""Encoding of corpora: pieces of plain text in, ids and the bytes and words behind each id out.

Never adds a special token and never finds one in a text. The bytes make figures of different
tokenizers comparable (bits per byte), so they always sum to the length of the text.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from model_foundry.data.documents import Fragment, Piece, pieces
from model_foundry.errors import DataError

DECODED = 8  # pieces of a batch that are decoded again to see whether the tokenizer loses text
NO_TEXT = b"\xff"  # stands for ids that are no text, and occurs in no UTF-8
_SPACES = [c for c in range(0x3001) if chr(c).isspace()]
IS_SPACE = np.zeros(0x3002, dtype=np.bool_)
IS_SPACE[_SPACES] = True


@dataclass(frozen=True)
class Encoded:
    """Pieces as tokens, framed as documents."""

    ids: NDArray[np.uint32]
    """(T,) token ids."""
    num_bytes: NDArray[np.int64]
    """(T,) UTF-8 bytes of source text each token accounts for. Skipped text belongs to the token
    after it, at the end to the last one. Where several tokens share a character, the first has its
    bytes."""
    num_words: NDArray[np.int64]
    """(T,) words (pieces between white space) that begin in each token."""
    piece_ends: NDArray[np.int64]
    """(P,) tokens up to the end of each piece."""
    digests: list[bytes]
    """SHA-256 of the text of each piece."""
    lossless: bool
    """Whether every piece comes back from its ids; where only decoding tells, some were tried."""


def document_frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the ids before and after each document of a stream.

    Raises:
        DataError: the tokenizer has nothing to end a document with.
    """
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if end is None:
        raise DataError(
            "the tokenizer has neither an eos nor a sep token to end a document with; "
            "give it one, or train another"
        )
    bos = tokenizer.bos_token_id
    starts = bos is not None and tokenizer("")["input_ids"][:1] == [bos]
    return [bos] if starts else [], [end]


@contextmanager
def _reading_plain_text(backend: Tokenizer) -> Iterator[None]:
    """Switch off special tokens in texts, truncation and padding, and restore them afterwards."""
    specials_as_text = backend.encode_special_tokens
    truncation, padding = backend.truncation, backend.padding
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    try:
        yield
    finally:
        backend.encode_special_tokens = specials_as_text
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def _byte_of_character() -> dict[str, int]:
    """Return the table by which byte-level BPE writes bytes as printable characters (GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(0x100 + number): byte for number, byte in enumerate(others)}


def _bytes_of(token: str, decoders: list[str], table: dict[str, int]) -> bytes:
    if "ByteLevel" in decoders:
        return bytes(table.get(c, 0xFF) for c in token)
    if "ByteFallback" in decoders and len(token) == 6 and token.startswith("<0x"):
        return bytes([int(token[3:5], 16)])
    return token.replace("\u2581", " " if "Replace" in decoders else "\u2581").encode()


def bytes_of_ids(tokenizer: PreTrainedTokenizerBase) -> list[bytes] | None:
    """Return the text that each id stands for, wherever it stands; None where there is no such.

    What the decoder seems to say is only a conjecture: whoever uses it compares with the text.
    """
    decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"] or {}
    decoders = [each["type"] for each in decoder.get("decoders", [decoder]) if each]
    if not decoders or not {*decoders} <= {"ByteLevel", "Replace", "ByteFallback", "Fuse"}:
        return None  # such as one that strips or adds spaces, by what stands beside
    vocabulary, specials = tokenizer.get_vocab(), {*tokenizer.all_special_ids}
    found, table = [NO_TEXT] * (1 + max(vocabulary.values())), _byte_of_character()
    for token, index in vocabulary.items():
        if index not in specials:
            found[index] = _bytes_of(token, decoders, table)
    return found


def count_bytes(text: str, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the UTF-8 bytes from the end of each token to the end of the one before it.

    Args:
        text: the source of the tokens.
        ends: (T,) the index of the character behind each token.

    Returns:
        (T,) bytes; they sum to those of the text unless T is zero.
    """
    if len(ends) == 0:
        return np.empty(0, dtype=np.int64)
    ends = np.maximum.accumulate(ends)  # a normalizer that reorders marks makes ends step back
    ends[-1] = len(text)
    places = ends if text.isascii() else _bytes_before(text)[ends]
    return np.diff(places, prepend=0)


def _codes(text: str) -> NDArray[np.uint32]:
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8).astype(np.uint32)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _bytes_before(text: str) -> NDArray[np.int64]:
    """Return the (C + 1,) bytes before each place between the C characters of a text."""
    codes = _codes(text)
    widths = 1 + (codes > 0x7F).astype(np.int64) + (codes > 0x7FF) + (codes > 0xFFFF)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(widths)])


def _word_starts(batch: Sequence[Piece]) -> NDArray[np.int64]:
    """Return the places, in bytes of the joined pieces, at which words begin."""
    text = "".join(piece.text for piece in batch)
    space = IS_SPACE[np.minimum(_codes(text), len(IS_SPACE) - 1)]
    begins = ~space
    begins[1:] &= space[:-1]
    lengths = np.fromiter((len(piece.text) for piece in batch), np.int64, len(batch))
    inside = np.fromiter((piece.inside_word for piece in batch), np.bool_, len(batch))
    firsts = (np.cumsum(lengths) - lengths)[lengths > 0]
    begins[firsts] = ~space[firsts] & ~inside[lengths > 0]
    places = np.flatnonzero(begins)
    return places if text.isascii() else _bytes_before(text)[places]


class Encoder:
    """Encodes batches of pieces; made once, used in forked processes."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.backend: Tokenizer = tokenizer.backend_tokenizer
        self.before, self.after = document_frame(tokenizer)
        self._table = bytes_of_ids(tokenizer)
        self._lengths = np.array([len(text) for text in self._table or ()], dtype=np.int64)

    @cached_property
    def cuts(self) -> bool:
        """Whether parts of a text give the ids of the whole, cut before a space.

        Not so where the tokenizer marks the beginning of a text, as some do with a space.
        """
        parts = ["An example of text", " that is cut", " before a space."]
        with _reading_plain_text(self.backend):
            whole = self.backend.encode("".join(parts), add_special_tokens=False).ids
            each = [self.backend.encode(part, add_special_tokens=False).ids for part in parts]
        return bool(whole == [index for ids in each for index in ids])

    def encode(self, batch: Sequence[Piece]) -> Encoded:
        """Encode pieces in their order."""
        raw = [piece.text.encode() for piece in batch]
        with _reading_plain_text(self.backend):
            plain = self._encode([piece.text for piece in batch], raw)
        framed = self._framed(batch, plain)
        starts = np.searchsorted(_word_starts(batch), np.cumsum(framed.num_bytes), side="left")
        return Encoded(
            ids=framed.ids,
            num_bytes=framed.num_bytes,
            num_words=np.diff(starts, prepend=0),
            piece_ends=framed.piece_ends,
            digests=[hashlib.sha256(text).digest() for text in raw],
            lossless=plain.exact or self._come_back(batch, plain),
        )

    def _come_back(self, batch: Sequence[Piece], plain: "_Plain") -> bool:
        first = np.split(plain.ids, np.cumsum(plain.counts)[:DECODED])[:DECODED]
        return all(
            self.backend.decode(ids.tolist(), skip_special_tokens=False) == piece.text
            for ids, piece in zip(first, batch, strict=False)
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each document, its frame included."""
        cut = [
            piece
            for text in texts
            for piece in (pieces([Fragment(text)]) if self.cuts else [Piece(text)])
        ]
        with _reading_plain_text(self.backend):
            encodings = self.backend.encode_batch_fast(
                [piece.text for piece in cut], add_special_tokens=False
            )
        frame, counts = len(self.before) + len(self.after), []
        total = frame
        for piece, encoding in zip(cut, encodings, strict=True):
            total += len(encoding.ids)
            if piece.ends:
                counts.append(total)
                total = frame
        return counts

    def _encode(self, texts: list[str], raw: list[bytes]) -> "_Plain":
        if self._table is None:
            return self._with_offsets(texts, raw)
        encodings = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        each = [encoding.ids for encoding in encodings]
        flat = np.array(list(chain.from_iterable(each)), dtype=np.int64)
        counts = np.array([len(ids) for ids in each], dtype=np.int64)
        plain = _Plain(flat, self._lengths[flat], counts, exact=True)
        if self._says(plain, raw):
            return plain
        # the ids do not say which bytes they stand for: some are unknown, or text was normalised
        return self._with_offsets(texts, raw)

    def _says(self, plain: "_Plain", raw: list[bytes]) -> bool:
        """Tell whether each piece is, byte for byte, what its ids stand for."""
        assert self._table is not None
        lengths = np.array([len(text) for text in raw], dtype=np.int64)
        ends = np.concatenate([[0], np.cumsum(plain.num_bytes)])[np.cumsum(plain.counts)]
        if not np.array_equal(ends, np.cumsum(lengths)):
            return False
        return b"".join(map(self._table.__getitem__, plain.ids.tolist())) == b"".join(raw)

    def _with_offsets(self, texts: list[str], raw: list[bytes]) -> "_Plain":
        encodings = self.backend.encode_batch(texts, add_special_tokens=False)
        sizes, skipped = [], 0
        for text, encoding in zip(texts, encodings, strict=True):
            ends = np.fromiter(map(itemgetter(1), encoding.offsets), np.int64, len(encoding.ids))
            size = count_bytes(text, ends)
            if len(size):
                size[0] += skipped
            skipped = 0 if len(size) else skipped + len(text.encode())
            sizes.append(size)
        joined = np.concatenate(sizes) if sizes else np.empty(0, np.int64)
        if skipped and len(joined):
            joined[-1] += skipped
        return _Plain(
            np.array([index for e in encodings for index in e.ids], dtype=np.int64),
            joined,
            np.array([len(e.ids) for e in encodings], dtype=np.int64),
            exact=False,
        )

    def _framed(self, batch: Sequence[Piece], plain: "_Plain") -> "_Framed":
        """Put the frames of documents around the pieces; frames have no bytes."""
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
        return _Framed(ids, num_bytes, piece_ends)


@dataclass(frozen=True)
class _Plain:
    """The ids of pieces without frames, the bytes of each id, and the ids of each piece."""

    ids: NDArray[np.int64]
    num_bytes: NDArray[np.int64]
    counts: NDArray[np.int64]
    exact: bool


@dataclass(frozen=True)
class _Framed:
    ids: NDArray[np.uint32]
    num_bytes: NDArray[np.int64]
    piece_ends: NDArray[np.int64]
