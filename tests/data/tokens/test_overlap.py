"""Counts of documents that are also in the training text."""

import numpy as np
import pytest

from model_foundry.data.tokens import overlap
from model_foundry.data.tokens.overlap import shared_documents
from model_foundry.data.tokens.token_stream import Sharded, StreamFacts, TokenStream


def stream_of(*digests: int) -> TokenStream:
    """Return a stream of documents with these hashes, one token each."""
    tokens = Sharded([np.zeros(len(digests), np.uint8)])
    facts = StreamFacts(text_sha256="", tokens_sha256="", bytes=0, words=0, lossless=True)
    ends = np.arange(1, len(digests) + 1, dtype=np.uint64)
    return TokenStream(tokens, tokens, tokens, ends, np.array(digests, np.uint64), facts)


def test_a_shared_document_counts_as_often_as_it_is_in_the_text() -> None:
    assert shared_documents(stream_of(7, 7, 5, 9, 2**63), stream_of(7, 2**63, 7, 8)) == 3


def test_counts_agree_with_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "STRETCH", 7)
    draw = np.random.default_rng(0)
    text, training = (draw.integers(50, size=size).tolist() for size in (40, 60))
    expected = sum(digest in set(training) for digest in text)
    assert 0 < expected < 40
    assert shared_documents(stream_of(*text), stream_of(*training)) == expected
