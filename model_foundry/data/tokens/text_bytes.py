"""Bytes and words of texts, and the bytes of the ids of a tokenizer."""

import json
from hashlib import sha256
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from model_foundry.data.sources.text_batch import TextBatch, characters, pieces

DIGEST = 32  # bytes of a SHA-256
NO_TEXT = b"\xff"  # for ids that are not text; never occurs in UTF-8


def document_digests(parts: bytes, closes: NDArray[np.bool_]) -> tuple[bytes, bytes]:
    """Return the digests of documents, and those of the pieces of a document that goes on.

    Args:
        parts: the digests of pieces, joined.
        closes: (P,) True where a document ends with the piece; P is less than the number of
            digests if the first document has begun before.
    """
    number = len(parts) // DIGEST
    stops = np.flatnonzero(closes) + 1 + number - len(closes)
    if len(stops) == number:
        return parts, b""
    bounds = (DIGEST * np.append(0, stops)).tolist()
    each = [parts[start:stop] for start, stop in pairwise(bounds)]
    joined = [one if len(one) == DIGEST else sha256(one).digest() for one in each]
    return b"".join(joined), parts[bounds[-1] :]


def byte_bounds(text: str, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0 and the ends, (P,) in characters, as offsets in UTF-8, (P + 1,)."""
    bounds = np.append(0, ends)
    return bounds if text.isascii() else bytes_before(text)[bounds]


def text_digests(batch: TextBatch) -> bytes:
    """Return the SHA-256 of whole documents, or for long ones that of the hashes of their pieces.

    A document that is read piece by piece has the same hash.
    """
    for cut in pieces([batch]):
        raw, bounds = cut.text.encode(), byte_bounds(cut.text, cut.ends).tolist()
        parts = [sha256(raw[start:end]).digest() for start, end in pairwise(bounds)]
        return document_digests(b"".join(parts), cut.closes)[0]
    return b""


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
    places = ends if text.isascii() else bytes_before(text)[ends]
    return np.diff(places, prepend=0)


def bytes_before(text: str) -> NDArray[np.int64]:
    """Return the bytes before each of the C characters of a text and at its end, (C + 1,)."""
    codes = characters(text)
    widths = 1 + (codes > 0x7F).astype(np.int64) + (codes > 0x7FF) + (codes > 0xFFFF)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(widths)])
