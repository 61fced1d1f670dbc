"""Counts by hand: ids over the border of shards, lengths, bins, shared documents."""

from collections.abc import Sequence

import numpy as np
import pytest

from model_foundry.corpus_report import counts
from model_foundry.corpus_report.counts import (
    LengthFigures,
    count_ids,
    document_lengths,
    length_edges,
    words_in,
)
from model_foundry.data.tokens.token_stream import Sharded, StreamFacts, TokenStream

FACTS = StreamFacts(text_sha256="", tokens_sha256="", bytes=0, words=0, lossless=True)


def stream_of(
    *documents: Sequence[int], words: Sequence[int] = (), digests: Sequence[int] = ()
) -> TokenStream:
    """Return a stream of these ids, in two shards."""
    ids = np.array([index for document in documents for index in document], np.uint16)
    begun = np.array(words or [0] * len(ids), np.uint8)
    return TokenStream(
        *(Sharded([column[:3], column[3:]]) for column in (ids, begun, begun)),
        document_ends=np.cumsum([len(document) for document in documents]).astype(np.uint64),
        document_digests=np.array(digests or range(len(documents)), np.uint64),
        facts=FACTS,
    )


@pytest.fixture(autouse=True)
def _short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "STRETCH", 2)


def test_ids_are_counted_over_stretches_and_shards() -> None:
    stream = stream_of([1, 2, 2, 5], [5, 5, 0])
    assert count_ids(stream, 7).tolist() == [1, 1, 2, 0, 0, 3, 0]
    assert count_ids(stream, 6, start=3).tolist() == [1, 0, 0, 0, 0, 3]


def test_words_count_where_they_begin() -> None:
    stream = stream_of([1, 2, 2, 5], [5, 5, 0], words=[1, 1, 0, 1, 2, 0, 1])
    assert [words_in(stream, index) for index in (1, 2, 5, 0, 3)] == [1, 1, 3, 1, 0]


def test_lengths_sum_to_all_tokens() -> None:
    stream = stream_of([1, 2, 2, 5], [5], [5, 0])
    assert document_lengths(stream).tolist() == [4, 1, 2]


def test_figures_of_lengths() -> None:
    lengths = np.array([3, 4, 4, 9], np.uint8)
    figures = LengthFigures.of(lengths, [3, 4, 5, 7, 10])
    assert (figures.shortest, figures.median, figures.mean, figures.longest) == (3, 4.0, 5.0, 9)
    assert figures.histogram == [1, 2, 0, 1]


@pytest.mark.parametrize(
    ("shortest", "longest"), [(1, 1), (22, 22), (5, 30), (1, 2), (2, 10**6), (1, 2**40)]
)
def test_bins_hold_every_length_and_never_narrow(shortest: int, longest: int) -> None:
    edges = length_edges(shortest, longest)
    widths = np.diff(edges)
    assert edges[0] == shortest and edges[-2] <= longest < edges[-1]
    assert len(widths) <= counts.BINS + 5
    assert widths[0] >= 1 and (np.diff(widths) >= 0).all()
