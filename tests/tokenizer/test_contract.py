"""Properties of all kinds of tokenizers."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import GPT2Config

from model_foundry.data.tokens.encoding import Encoder
from model_foundry.errors import ConfigError, DataError
from model_foundry.foundation.atomic_files import is_committed
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.data.corpora import pieces_of
from tests.tokenizer.conftest import KINDS
from tests.tokenizer.plainly import encode_plainly, is_lossless

HASHING_PROCESS = """
import hashlib, json, pathlib, sys
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
documents, kinds, directory = json.load(sys.stdin)
for kind, (tokenizer_type, options) in kinds.items():
    path = pathlib.Path(directory, kind)
    TokenizerFactory.train(tokenizer_type, documents=documents, output_dir=path, **options)
"""


def test_ids_are_in_range_and_the_specials_come_first(tokenizer, odd_texts):
    specials = sorted(tokenizer.all_special_ids)
    assert specials == list(range(5))
    assert tokenizer.pad_token_id == 0
    ids = {index for text in odd_texts for index in tokenizer(text)["input_ids"]}
    assert ids <= set(range(len(tokenizer)))
    assert set(tokenizer.get_vocab().values()) == set(range(len(tokenizer)))


def test_the_frame_and_the_model_inputs_follow_the_style(kind, tokenizer):
    encoded = tokenizer("the fox")
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    framed = [token for token in tokens if token in tokenizer.all_special_tokens]
    if kind == "wordpiece":
        assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")
    else:
        assert tokens[0] == "<s>"
        assert framed == ["<s>"]
    assert list(encoded) == ["input_ids", "attention_mask"]
    assert tokenizer.padding_side == "right"


def test_only_an_explicit_call_reads_the_mask(tokenizer):
    mask = tokenizer.mask_token
    assert tokenizer.mask_token_id in tokenizer(f"the {mask} fox")["input_ids"]
    (encoded,) = encode_plainly(tokenizer, [f"the {mask} fox"])
    assert tokenizer.mask_token_id not in encoded.ids


def test_special_strings_in_a_text_stay_text(tokenizer, odd_texts):
    meant = {tokenizer.unk_token_id}
    for encoded in encode_plainly(tokenizer, odd_texts):
        assert set(encoded.ids.tolist()) & set(tokenizer.all_special_ids) <= meant


def test_documents_come_back_from_their_ids(kind, tokenizer, documents):
    assert is_lossless(tokenizer, documents) == (kind not in ("wordpiece", "word"))


def test_byte_kinds_lose_nothing_on_odd_texts(kind, tokenizer, odd_texts):
    if kind in ("wordpiece", "character", "word"):
        pytest.skip("its vocabulary does not cover what was not seen")
    assert is_lossless(tokenizer, odd_texts)


def test_bytes_of_the_tokens_sum_to_the_document(tokenizer, odd_texts):
    for text, encoded in zip(odd_texts, encode_plainly(tokenizer, odd_texts), strict=True):
        assert len(encoded.ids) == len(encoded.num_bytes)
        assert encoded.num_bytes.min(initial=0) >= 0
        expected = len(text.encode()) if len(encoded.ids) else 0
        assert encoded.num_bytes.sum() == expected


def test_encoding_leaves_the_tokenizer_as_it_was(train):
    tokenizer = train("bpe")
    encoder, backend = Encoder(tokenizer), tokenizer.backend_tokenizer
    backend.enable_truncation(max_length=3)
    backend.enable_padding(length=9)
    before = backend.to_str()
    encoded = encoder.encode(pieces_of("the quick brown fox jumps over"))
    assert len(encoded.ids) > 3 + 2
    assert encoded.num_bytes.sum() == 30
    assert backend.to_str() == before
    assert backend.encode_special_tokens is False


@pytest.mark.slow
def test_training_twice_gives_the_same_bytes(documents, tmp_path):
    kinds = KINDS | {
        "character": ("character", {"vocab_size": 40}),
        "word": ("word", {"vocab_size": 40, "min_frequency": 2}),
    }
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", HASHING_PROCESS],
            input=json.dumps([documents, kinds, str(tmp_path / seed)]),
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        )
    for kind in kinds:
        files = [path.name for path in (tmp_path / "1" / kind).iterdir()]
        assert "tokenizer.json" in files
        for name in files:
            first, second = (tmp_path / seed / kind / name for seed in ("1", "2"))
            assert first.read_bytes() == second.read_bytes(), f"{kind}/{name}"


def test_output_directory_is_committed_and_loads(kind, train, tmp_path, odd_texts):
    directory = tmp_path / "tokenizer"
    trained = train(kind, output_dir=directory)
    loaded = load_tokenizer(directory)
    assert is_committed(directory)
    assert [loaded(text)["input_ids"] for text in odd_texts] == [
        trained(text)["input_ids"] for text in odd_texts
    ]
    saved = json.loads((directory / "tokenizer_config.json").read_text())
    assert saved["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert (loaded.mask_token, loaded.pad_token_id) == (trained.mask_token, 0)


def test_files_are_documents_with_normal_newlines(kind, train, tmp_path):
    texts = ["the quick\nbrown fox\n", "seven lazy dogs\n"] * 20
    paths = [tmp_path / f"{index}.txt" for index in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.replace("\n", "\r\n").encode())
    method = {
        "unigram": TokenizerFactory.train_sentencepiece,
        "sentencepiece_bpe": TokenizerFactory.train_sentencepiece,
        "wordpiece": TokenizerFactory.train_wordpiece,
        "bpe": TokenizerFactory.train_bpe,
        "character": TokenizerFactory.train_character,
        "word": TokenizerFactory.train_word,
    }[kind]
    options = {"model_type": "bpe"} if kind == "sentencepiece_bpe" else {}
    size = {"vocab_size": 290} if kind != "character" else {}
    from_files = method(paths, **size, **options)
    from_documents = method(documents=texts, **size, **options)
    assert from_files.backend_tokenizer.to_str() == from_documents.backend_tokenizer.to_str()
    assert from_files.get_vocab().keys().isdisjoint({"\r"})


def test_a_small_corpus_is_reported(kind, train, caplog):
    with caplog.at_level(logging.WARNING):
        tokenizer = train(kind, documents=["the quick brown fox"], vocab_size=5000)
    assert len(tokenizer) < 5000
    (record,) = [entry for entry in caplog.records if "vocab_size" in entry.message]
    assert "5000 requested" in record.message
    assert str(len(tokenizer)) in record.message


def test_the_vocabulary_is_never_larger_than_requested(kind, train):
    for size in (330, 400):
        assert len(train(kind, vocab_size=size)) <= size


def test_a_vocabulary_without_room_is_refused_with_the_number(kind, train):
    with pytest.raises(ConfigError, match=r"tokenizer\.vocab_size: 5 is too small.* at least \d+"):
        train(kind, vocab_size=5)


@pytest.mark.parametrize("nothing", [[], ["", ""]])
def test_no_text_is_a_data_error(kind, train, nothing):
    with pytest.raises(DataError, match="no text"):
        train(kind, documents=nothing)


def test_an_error_of_the_corpus_reaches_the_user(kind, train, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"good \xff bad")
    with pytest.raises(DataError, match=r"^\S+bad\.txt: byte 5 is not UTF-8"):
        TokenizerFactory.train_sentencepiece([tmp_path / "bad.txt"])
    with pytest.raises(DataError, match=r"none\.txt: no such file"):
        TokenizerFactory.train_bpe(str(tmp_path / "none.txt"))
    with pytest.raises(DataError, match=r"^Document 1: character 2 is a lone surrogate"):
        train(kind, documents=["fine", "ab\ud800"])


def test_special_tokens_can_be_renamed_and_added(kind, train):
    tokenizer = train(kind, special_tokens={"mask": "<hide>", "cls": "<|start|>"})
    assert (tokenizer.mask_token, tokenizer.cls_token) == ("<hide>", "<|start|>")
    (encoded,) = encode_plainly(tokenizer, ["a <hide> b <|start|>"])
    assert not {tokenizer.mask_token_id, tokenizer.cls_token_id} & set(encoded.ids.tolist())


def test_ambiguous_special_tokens_are_refused(kind, train):
    with pytest.raises(ConfigError, match=r"tokenizer\.special_tokens: 'start' is not a role"):
        train(kind, special_tokens={"start": "<start>"})
    with pytest.raises(ConfigError, match=r"tokenizer\.special_tokens: '<x>' is given to both"):
        train(kind, special_tokens={"mask": "<x>", "pad": "<x>"})
    for ordinary in ("the", "", "<two words>", "<1>", "<a:b>", "<0x41>", "[é]", "'s"):
        with pytest.raises(ConfigError, match=r"tokenizer\.special_tokens\.mask: "):
            train(kind, special_tokens={"mask": ordinary})


def test_unknown_kind_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'wordpeace' is not known.*Did you mean 'wordpiece'"):
        TokenizerFactory.train("wordpeace", documents=["x"], vocab_size=100)


def test_exactly_one_source_of_text_is_required(tmp_path):
    with pytest.raises(ConfigError, match="exactly one"):
        TokenizerFactory.train_bpe()
    with pytest.raises(ConfigError, match="exactly one"):
        TokenizerFactory.train_bpe(tmp_path / "a.txt", documents=["a"])


@pytest.mark.parametrize("content", ["not json", '{"version": "1.0"}'])
def test_a_broken_tokenizer_is_a_data_error(train, tmp_path, content):
    train("bpe", output_dir=tmp_path / "t")
    (tmp_path / "t" / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match="cannot be loaded as a tokenizer"):
        load_tokenizer(tmp_path / "t")


def test_a_directory_without_a_tokenizer_is_a_data_error(tmp_path: Path):
    GPT2Config().save_pretrained(tmp_path)
    with pytest.raises(DataError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    with pytest.raises(DataError, match="no such directory"):
        load_tokenizer(tmp_path / "a" / "missing")
