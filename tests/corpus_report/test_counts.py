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
from model_foundry.data.tokens.token_stream import TokenStream
from tests.data.streams import stream_of


def documents(*documents: Sequence[int], words: Sequence[int] | int = 0) -> TokenStream:
    """Return a stream of these documents, in two shards."""
    ends = np.cumsum([len(document) for document in documents])
    return stream_of(np.concatenate(documents), words=words, ends=ends, shards=2)


@pytest.fixture(autouse=True)
def _short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "STRETCH", 2)


def test_ids_are_counted_over_stretches_and_shards() -> None:
    stream = documents([1, 2, 2, 5], [5, 5, 0])
    assert count_ids(stream, 7).tolist() == [1, 1, 2, 0, 0, 3, 0]
    assert count_ids(stream, 6, start=3).tolist() == [1, 0, 0, 0, 0, 3]


def test_words_count_where_they_begin() -> None:
    stream = documents([1, 2, 2, 5], [5, 5, 0], words=[1, 1, 0, 1, 2, 0, 1])
    assert [words_in(stream, index) for index in (1, 2, 5, 0, 3)] == [1, 1, 3, 1, 0]


def test_lengths_sum_to_all_tokens() -> None:
    stream = documents([1, 2, 2, 5], [5], [5, 0])
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
