"""Streams: framing, accounting of bytes and words, and the cache."""

from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from model_foundry.data import packing
from model_foundry.data.packing import document_frame, stream_of, words_beginning_in
from model_foundry.errors import DataError
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory

TEXTS = [
    "The dogs near the old house chase a cat.",
    "  two  spaces,\ttabs\nand lines \n",
    "naïve café: 東京 is 🗼 tall",
    "x",
]


@pytest.fixture(scope="module", params=["bpe", "wordpiece", "character", "sentencepiece"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    sizes = {"bpe": 300, "wordpiece": 90, "character": 100, "sentencepiece": 330}
    return TokenizerFactory.train(
        request.param, documents=TEXTS * 30, vocab_size=sizes[request.param]
    )


def test_documents_stand_in_the_stream_as_the_tokenizer_frames_a_text(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    stream = stream_of(TEXTS[:1], tokenizer, cache=tmp_path)
    alone = tokenizer(TEXTS[0])["input_ids"]
    if tokenizer.bos_token_id is not None:  # BOS comes from the template, EOS from the packer
        assert stream.tokens.tolist() == [*alone, tokenizer.eos_token_id]
    else:  # [CLS] and [SEP] frame blocks; in the stream [SEP] only ends a document
        assert stream.tokens.tolist() == alone[1:]


def test_every_byte_and_every_word_is_accounted_for(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    stream = stream_of(TEXTS, tokenizer, cache=tmp_path)
    assert stream.bytes == sum(len(text.encode()) for text in TEXTS)
    assert stream.words == sum(len(text.split()) for text in TEXTS)
    assert stream.documents == len(TEXTS)
    special = np.isin(stream.tokens, [tokenizer.bos_token_id, tokenizer.eos_token_id or -1])
    assert stream.num_bytes[special].sum() == 0


def test_words_are_counted_where_they_begin() -> None:
    text = "né à\u2003b  cd"  # 2+1 bytes, space, 2, an em space of 3, 1, two spaces, 2
    every_byte = np.ones(len(text.encode()), dtype=np.int64)
    begins = words_beginning_in(text, every_byte)
    assert begins.sum() == len(text.split()) == 4
    assert np.flatnonzero(begins).tolist() == [0, 4, 9, 12]


def test_stream_is_tokenised_once_and_mapped_from_the_disk(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stream_of(TEXTS, tokenizer, cache=tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr(packing, "encode_documents", refuse)
    again = stream_of(TEXTS, tokenizer, cache=tmp_path)
    assert isinstance(again.tokens, np.memmap)
    assert np.array_equal(first.tokens, again.tokens)
    with pytest.raises(AssertionError, match="tokenised again"):
        stream_of([*TEXTS[:-1], TEXTS[-1] + " more"], tokenizer, cache=tmp_path)


def test_where_documents_end_is_part_of_the_content(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    joined = stream_of(["ab"], tokenizer, cache=tmp_path)
    apart = stream_of(["a", "b"], tokenizer, cache=tmp_path)
    assert joined.documents == 1 and apart.documents == 2


def test_another_tokenizer_has_another_stream(tmp_path: Path) -> None:
    small, large = (
        TokenizerFactory.train_bpe(documents=TEXTS * 30, vocab_size=size) for size in (265, 300)
    )
    lengths = [len(stream_of(TEXTS, each, cache=tmp_path)) for each in (small, large)]
    assert lengths[0] > lengths[1]


def test_tokenizer_that_cannot_end_a_document_is_refused() -> None:
    tokenizer = TokenizerFactory.train_bpe(documents=TEXTS, vocab_size=262)
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="neither an eos nor a sep token"):
        document_frame(tokenizer)
