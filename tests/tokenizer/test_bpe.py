"""Byte-level BPE: its first merges, and its smallest vocabulary."""

import pytest
from tokenizers import pre_tokenizers

from model_foundry.errors import ConfigError


def test_the_first_merges_are_the_most_frequent_pairs(train):
    tokenizer = train("bpe", documents=["aaabdaaabac"], vocab_size=261 + 3)
    learned = tokenizer.convert_ids_to_tokens(range(261, 264))
    assert learned == ["aa", "ab", "aaab"]


def test_the_floor_is_bytes_and_specials(train):
    assert len(train("bpe", vocab_size=261)) == 261
    with pytest.raises(ConfigError, match=r"tokenizer\.vocab_size: 260 .* at least 261"):
        train("bpe", vocab_size=260)


def test_every_byte_has_a_token(train):
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    assert alphabet <= train("bpe").get_vocab().keys()


def test_a_special_string_that_fills_the_corpus_is_still_text(train):
    tokenizer = train("bpe", documents=["<s></s><unk><mask>" * 50])
    ids = tokenizer("<s></s><unk><mask>", split_special_tokens=True, add_special_tokens=False)
    assert not set(ids["input_ids"]) & set(tokenizer.all_special_ids)
