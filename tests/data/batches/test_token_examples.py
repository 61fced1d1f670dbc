"""Rows of a stream: each token in one row, with its words, bytes and documents."""

from typing import Any

import numpy as np
import pytest

from model_foundry.data.batches.token_examples import Blocks, Frame, PackedDocuments, TokenExamples
from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.foundation.labels import IGNORE_INDEX
from tests.data import streams
from tests.data.streams import row_of

CLS, SEP, BOS, EOS = 1, 2, 3, 4


def stream_of(documents: list[list[int]], *, shards: int = 1) -> TokenStream:
    """Return a stream of these documents, in which every third token begins a word."""
    ids = np.concatenate(documents)
    ends = np.cumsum([len(document) for document in documents])
    starts = np.arange(len(ids)) % 3 == 0
    return streams.stream_of(ids, 2, starts, ends=ends, shards=shards)


def documents_of(seed: int, *, end: list[int], start: list[int]) -> list[list[int]]:
    """Return framed documents of many lengths with different ids from 10 on."""
    sizes = np.random.default_rng(seed).integers(1, 60, size=50)
    first = np.cumsum(sizes) - sizes + 10
    return [[*start, *range(at, at + size), *end] for at, size in zip(first, sizes, strict=True)]


def all_of(rows: TokenExamples) -> list[dict[str, Any]]:
    return [row_of(rows, (0, number)) for number in range(len(rows))]


# --- blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("content", [1, 5, 7, 23, 50])
def test_blocks_are_the_stream_in_order(content: int, shards: int) -> None:
    stream = stream_of([list(range(10, 20)), list(range(20, 33))], shards=shards)
    rows = all_of(Blocks(stream, content=content, keep_rest=True))
    assert np.concatenate([row["input_ids"] for row in rows]).tolist() == list(range(10, 33))
    assert sum(row["tokens"] for row in rows) == 23
    assert sum(row["words"] for row in rows) == stream.words
    assert sum(row["num_bytes"].sum() for row in rows) == stream.bytes
    assert all(row["input_ids"].dtype == np.int64 for row in rows)
    training = Blocks(stream, content=content, keep_rest=False)
    assert len(training) * content + training.dropped == 23
    assert training.dropped < content


def test_a_frame_has_neither_bytes_nor_words() -> None:
    stream = stream_of([list(range(10, 20))])
    framed = Blocks(stream, content=4, frame=([CLS], [SEP]), keep_rest=True, word_starts=True)
    row = row_of(framed, (3, 1))
    assert row["input_ids"].tolist() == [CLS, 14, 15, 16, 17, SEP]
    assert row["num_bytes"].tolist() == [0, 2, 2, 2, 2, 0]
    assert row["word_starts"].tolist() == [False, False, False, True, False, False]
    assert (row["tokens"], row["words"], row["example_id"]) == (4, 1, (3, 1))
    assert row_of(framed, (0, 2))["input_ids"].tolist() == [CLS, 18, 19, SEP]


def test_word_starts_are_optional() -> None:
    stream = stream_of([list(range(10, 20))])
    assert "word_starts" not in row_of(Blocks(stream, content=4, keep_rest=True), (0, 0))
    row = row_of(Blocks(stream, content=4, keep_rest=True, word_starts=True), (0, 0))
    assert row["word_starts"].dtype == np.bool_
    assert row["word_starts"].tolist() == [True, False, False, True]


@pytest.mark.parametrize("shards", [1, 4])
def test_a_block_has_the_token_after_it(shards: int) -> None:
    stream = stream_of([list(range(10, 20))], shards=shards)
    rows = all_of(Blocks(stream, content=4, keep_rest=True, following=True))
    assert [row["following"] for row in rows] == [14, 18, IGNORE_INDEX]
    assert [row["following_bytes"] for row in rows] == [2, 2, 0]
    assert "following" not in row_of(Blocks(stream, content=4, keep_rest=True), (0, 0))


def test_the_first_rows_alone_are_those_rows() -> None:
    rows = Blocks(stream_of([list(range(10, 33))]), content=5, keep_rest=True)
    assert len(rows.first(2)) == 2 and len(rows.first(99)) == len(rows) == 5
    assert (
        row_of(rows.first(2), (0, 1))["input_ids"].tolist()
        == row_of(rows, (0, 1))["input_ids"].tolist()
    )


def test_rows_are_described_in_one_line() -> None:
    stream = stream_of([list(range(10, 20)), list(range(20, 33))])
    assert Blocks(stream, content=5, keep_rest=False).describe() == (
        "2 documents, 8 words, 46 bytes, 23 tokens in 4 blocks of 5, 3 left over"
    )
    description = PackedDocuments(stream, length=8, overlap=2).describe()
    assert "left over" not in description and ", 4 repeated as context" in description
    assert "rows of 8 (" in description and "% full)" in description


# --- documents ------------------------------------------------------------------------------------

MARKS = [([], [EOS], ([], [])), ([BOS], [EOS], ([], [])), ([], [SEP], ([CLS], [SEP]))]


@pytest.mark.parametrize(("start", "end", "frame"), MARKS)
@pytest.mark.parametrize("overlap", [0, 3])
@pytest.mark.parametrize("length", [8, 32, 100])
def test_every_token_of_every_document_is_in_one_row(
    length: int, overlap: int, start: list[int], end: list[int], frame: Frame
) -> None:
    documents = documents_of(0, start=start, end=end)
    stream = stream_of(documents, shards=3)
    rows = PackedDocuments(
        stream, length=length, frame=frame, document_frame=(start, end), overlap=overlap
    )
    text, words, num_bytes, tokens = [], 0, 0, 0
    for row in all_of(rows):
        sizes = {len(row[key]) for key in ("input_ids", "num_bytes", "document_ids")}
        assert sizes == {len(row["input_ids"])} and len(row["input_ids"]) <= length
        context = row.get("is_context", np.zeros(len(row["input_ids"]), np.bool_))
        assert row["num_bytes"][context].sum() == 0
        text += row["input_ids"][~context & (row["input_ids"] >= 10)].tolist()
        words, num_bytes = words + row["words"], num_bytes + int(row["num_bytes"].sum())
        tokens += row["tokens"]
    assert sorted(text) == [index for ids in documents for index in ids if index >= 10]
    assert (words, num_bytes, tokens) == (stream.words, stream.bytes, len(stream))


@pytest.mark.parametrize("overlap", [0, 2])
def test_a_document_in_a_row_is_a_part_of_that_document(overlap: int) -> None:
    documents = documents_of(1, start=[], end=[EOS])
    rows = PackedDocuments(
        stream_of(documents), length=16, document_frame=([], [EOS]), overlap=overlap
    )
    owner = {index: number for number, ids in enumerate(documents) for index in ids[:-1]}
    whole = {tuple(ids) for ids in documents}
    begun = set()
    for row in all_of(rows):
        assert (np.diff(row["document_ids"]) >= 0).all() and row["document_ids"][0] == 0
        for number in np.unique(row["document_ids"]):
            ids = row["input_ids"][row["document_ids"] == number].tolist()
            names = {owner[index] for index in ids if index != EOS}
            assert len(names) <= 1
            if names:
                text = documents[names.pop()]
                place = text.index(ids[0])
                assert text[place : place + len(ids)] == ids
            begun.add(tuple(ids))
    assert {ids for ids in whole if len(ids) <= 16} <= begun  # a short one is never cut


def test_the_context_is_the_end_of_the_span_before() -> None:
    document = [*range(10, 30), EOS]
    rows = PackedDocuments(
        stream_of([document]),
        length=8,
        document_frame=([], [EOS]),
        overlap=3,
        word_starts=True,
    )
    found = sorted(all_of(rows), key=lambda row: int(row["input_ids"][0]))
    assert [row["input_ids"].tolist() for row in found] == [
        document[0:8],
        document[5:13],
        document[10:18],
        document[15:21],
    ]
    assert [row["is_context"].sum() for row in found] == [0, 3, 3, 3]
    assert found[1]["is_context"].tolist() == [True] * 3 + [False] * 5
    assert not any(row["word_starts"][row["is_context"]].any() for row in found)
    assert [row["tokens"] for row in found] == [8, 5, 5, 3]
    assert rows.repeated == 9


def test_a_document_of_bert_is_framed_once() -> None:
    documents = [[10, 11, SEP], [12, SEP], [*range(20, 29), SEP]]
    rows = PackedDocuments(
        stream_of(documents),
        length=7,
        frame=([CLS], [SEP]),
        document_frame=([], [SEP]),
    )
    found = sorted(row["input_ids"].tolist() for row in all_of(rows))
    assert found == [
        [CLS, 10, 11, SEP, CLS, 12, SEP],
        [CLS, 20, 21, 22, 23, 24, SEP],
        [CLS, 25, 26, 27, 28, SEP],
    ]
    for row in all_of(rows):
        marks = np.isin(row["input_ids"], [CLS])
        assert row["num_bytes"][marks].sum() == 0
        assert np.array_equal(np.cumsum(marks) - 1, row["document_ids"])


def test_rows_are_the_same_each_time() -> None:
    stream = stream_of(documents_of(2, start=[], end=[EOS]))
    first, again = (all_of(PackedDocuments(stream, length=20, overlap=4)) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert one["input_ids"].tolist() == other["input_ids"].tolist()


def test_tokens_that_no_pass_reads_are_no_targets() -> None:
    stream = stream_of([list(range(10, 25))])
    rows = Blocks(stream, content=4, keep_rest=False, following=True)
    assert [row["following"] for row in all_of(rows)] == [14, 18, IGNORE_INDEX]
    rows.unread = 1  # the last block fills no lane
    assert (
        row_of(rows, (0, 1))["following"] == IGNORE_INDEX
        and row_of(rows, (0, 0))["following"] == 14
    )
    assert rows.left_over == 3 + 4
    assert "15 tokens in 2 blocks of 4, 7 left over" in rows.describe()
