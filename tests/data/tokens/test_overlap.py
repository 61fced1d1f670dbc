"""Documents on both sides are counted, and counted once where there are many."""

from pathlib import Path

import numpy as np
import pytest

from model_foundry.data.tokens import overlap
from model_foundry.data.tokens.overlap import kept_count, shared_documents
from model_foundry.data.tokens.token_stream import Sharded, StreamFacts, TokenStream


def stream_of(*digests: int, text: str = "") -> TokenStream:
    """Return a stream of documents with these hashes, one token each."""
    tokens = Sharded([np.zeros(len(digests), np.uint8)])
    facts = StreamFacts(text_sha256=text, tokens_sha256="", bytes=0, words=0, lossless=True)
    ends = np.arange(1, len(digests) + 1, dtype=np.uint64)
    return TokenStream(tokens, tokens, tokens, ends, np.array(digests, np.uint64), facts)


def test_a_shared_document_counts_as_often_as_it_stands_in_the_text() -> None:
    assert shared_documents(stream_of(7, 7, 5, 9, 2**63), stream_of(7, 2**63, 7, 8)) == 3


def test_counts_agree_with_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "STRETCH", 7)
    draw = np.random.default_rng(0)
    text, training = (draw.integers(50, size=size).tolist() for size in (40, 60))
    expected = sum(digest in set(training) for digest in text)
    assert 0 < expected < 40
    assert shared_documents(stream_of(*text), stream_of(*training)) == expected


def test_a_count_is_kept_for_the_two_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "WORTH_KEEPING", 2)
    text, training = stream_of(1, 2, text="a"), stream_of(2, 3, text="b")
    assert kept_count(text, training, cache=tmp_path) == 1
    monkeypatch.setattr(overlap, "shared_documents", lambda *_: 42)
    assert kept_count(text, training, cache=tmp_path) == 1
    assert kept_count(text, stream_of(2, 3, text="c"), cache=tmp_path) == 42


@pytest.mark.parametrize("damaged", ["", "nonsense", "-1", "true", "[1]"])
def test_what_is_no_count_is_counted_anew(
    damaged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap, "WORTH_KEEPING", 2)
    text, training = stream_of(1, 2, text="a"), stream_of(2, 3, text="b")
    kept_count(text, training, cache=tmp_path)
    (place,) = (tmp_path / "shared").iterdir()
    place.write_text(damaged)
    assert kept_count(text, training, cache=tmp_path) == 1


def test_few_are_counted_without_a_file(tmp_path: Path) -> None:
    assert kept_count(stream_of(1), stream_of(1), cache=tmp_path) == 1
    assert not list(tmp_path.iterdir())
