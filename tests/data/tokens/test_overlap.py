"""Counts of documents that are also in the training text."""

import numpy as np
import pytest

from model_foundry.data.tokens import overlap
from model_foundry.data.tokens.overlap import shared_documents
from model_foundry.data.tokens.token_stream import TokenStream
from tests.data.streams import stream_of


def with_hashes(*digests: int) -> TokenStream:
    """Return a stream of documents with these hashes, one token each."""
    number = len(digests)
    return stream_of([0] * number, ends=range(1, number + 1), digests=digests)


def test_a_shared_document_counts_as_often_as_it_is_in_the_text() -> None:
    assert shared_documents(with_hashes(7, 7, 5, 9, 2**63), with_hashes(7, 2**63, 7, 8)) == 3


def test_counts_agree_with_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "STRETCH", 7)
    draw = np.random.default_rng(0)
    text, training = (draw.integers(50, size=size).tolist() for size in (40, 60))
    expected = sum(digest in set(training) for digest in text)
    assert 0 < expected < 40
    assert shared_documents(with_hashes(*text), with_hashes(*training)) == expected
