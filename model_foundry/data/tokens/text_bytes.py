"""Bytes and words of texts, and the bytes of the ids of a tokenizer."""

import json
from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from model_foundry.data.sources.fragments import PIECE, Fragment, Piece, pieces

NO_TEXT = b"\xff"  # for ids that are not text; never occurs in UTF-8
_SPACES = [c for c in range(0x3001) if chr(c).isspace()]
IS_SPACE = np.zeros(0x3002, dtype=np.bool_)
IS_SPACE[_SPACES] = True


def text_digest(text: str) -> bytes:
    """Return the SHA-256 of a text, or for a long text that of the hashes of its pieces.

    A text that is read piece by piece has the same hash.
    """
    if len(text) <= PIECE:
        return sha256(text.encode()).digest()
    return join_digests([sha256(p.text.encode()).digest() for p in pieces([Fragment(text)])])


def join_digests(parts: list[bytes]) -> bytes:
    """Return the digest of a text, given those of its pieces."""
    return parts[0] if len(parts) == 1 else sha256(b"".join(parts)).digest()


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
    """Return the text of each id; None if it depends on the ids around it.

    The settings of the decoder give only a conjecture, which the caller compares with the text.
    """
    decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"] or {}
    decoders = [each["type"] for each in decoder.get("decoders", [decoder]) if each]
    if not decoders or not {*decoders} <= {"ByteLevel", "Replace", "ByteFallback", "Fuse"}:
        return None  # such as a decoder that strips or adds spaces between tokens
    vocabulary, specials = tokenizer.get_vocab(), {*tokenizer.all_special_ids}
    found, table = [NO_TEXT] * (1 + max(vocabulary.values())), _byte_of_character()
    for token, index in vocabulary.items():
        if index not in specials:
            found[index] = _bytes_of(token, decoders, table)
    return found


def count_bytes(text: str, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the UTF-8 bytes between the end of each token and that of the previous one.

    Args:
        text: the source of the tokens.
        ends: (T,) the index of the character after each token.

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
    """Return the bytes before each of the C characters of a text and at its end, (C + 1,)."""
    codes = _codes(text)
    widths = 1 + (codes > 0x7F).astype(np.int64) + (codes > 0x7FF) + (codes > 0xFFFF)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(widths)])


def word_starts(batch: Sequence[Piece]) -> NDArray[np.int64]:
    """Return the byte offsets in the joined pieces at which words begin."""
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
