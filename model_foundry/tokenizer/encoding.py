"""Encoding of corpora: plain text in, ids and the bytes that each id accounts for out.

Never adds a special token and never finds one in a text. The bytes make figures of different
tokenizers comparable (bits per byte), so they always sum to the length of the text.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class EncodedDocument:
    """One document as tokens.

    Attributes:
        ids: (T,) int32, the token ids.
        num_bytes: (T,) int32, the UTF-8 bytes of source text each token accounts for. Skipped text
            belongs to the token after it, at the end to the last one. Where several tokens share a
            character, the first has its bytes.
    """

    ids: NDArray[np.int32]
    num_bytes: NDArray[np.int32]


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


def _bytes_before(text: str) -> NDArray[np.int64]:
    """Return the (C + 1,) bytes before each place between the C characters of a text."""
    code_points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    widths = np.ones(len(code_points), dtype=np.int64)
    for first_wider in (0x80, 0x800, 0x10000):
        widths += code_points >= first_wider
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(widths)])


def count_bytes(text: str, ends: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the UTF-8 bytes from the end of each token to the end of the one before it.

    Args:
        text: the source of the tokens.
        ends: (T,) the index of the character behind each token.

    Returns:
        (T,) int32; sums to the bytes of the text unless T is zero.
    """
    if len(ends) == 0:
        return np.empty(0, dtype=np.int32)
    ends = np.maximum.accumulate(ends)  # a normalizer that reorders marks makes ends step back
    ends[-1] = len(text)
    places = ends if text.isascii() else _bytes_before(text)[ends]
    return np.diff(places, prepend=0).astype(np.int32)


def _to_arrays(text: str, encoding: Encoding) -> EncodedDocument:
    ids = np.array(encoding.ids, dtype=np.int32)
    ends = np.fromiter(map(itemgetter(1), encoding.offsets), dtype=np.int64, count=len(ids))
    return EncodedDocument(ids, count_bytes(text, ends))


def encode_documents(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> list[EncodedDocument]:
    """Encode the texts as a batch, special tokens neither added nor found in them."""
    backend = tokenizer.backend_tokenizer
    with _reading_plain_text(backend):
        encodings = backend.encode_batch(list(texts), add_special_tokens=False)
    return [_to_arrays(*pair) for pair in zip(texts, encodings, strict=True)]


def is_lossless(tokenizer: PreTrainedTokenizerFast, sample: Sequence[str]) -> bool:
    """Tell whether each text of the sample comes back from its ids character for character."""
    return all(
        tokenizer.decode(encoded.ids.tolist(), clean_up_tokenization_spaces=False) == text
        for text, encoded in zip(sample, encode_documents(tokenizer, sample), strict=True)
    )
