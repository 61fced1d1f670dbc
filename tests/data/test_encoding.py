"""Which token accounts for which bytes, by hand."""

import numpy as np

from model_foundry.data.encoding import count_bytes, encode_documents
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory

DOCUMENTS = ["the quick brown fox jumps\n  over the lazy dog.", "  the dog, quick and brown "] * 20


def counted(text: str, *ends: int) -> list[int]:
    return count_bytes(text, np.array(ends, dtype=np.int64)).tolist()


def test_skipped_text_belongs_to_the_next_token_and_the_tail_to_the_last():
    assert counted("  ab  cd  ", 4, 8) == [4, 6]


def test_characters_count_by_their_width():
    assert counted("aé中👩", 1, 2, 3, 4) == [1, 2, 3, 4]


def test_tokens_sharing_a_character_sum_to_its_width():
    assert counted("é!", 1, 1, 2) == [2, 0, 1]


def test_ends_that_step_back_take_nothing_away():
    assert counted("abcd", 3, 2, 4) == [3, 0, 1]


def test_no_tokens_no_bytes():
    assert counted("  ") == []


def test_wordpiece_counts_the_space_with_the_word_behind_it():
    tokenizer = TokenizerFactory.train_wordpiece(documents=DOCUMENTS, vocab_size=80)
    (encoded,) = encode_documents(tokenizer, ["the  quick brown "])
    whole_words = tokenizer.convert_ids_to_tokens(encoded.ids.tolist())
    assert whole_words == ["the", "quick", "brown"]
    assert encoded.num_bytes.tolist() == [3, 7, 7]


def test_bytes_agree_with_the_decoded_tokens_of_a_byte_tokenizer():
    tokenizer = TokenizerFactory.train_bpe(documents=DOCUMENTS, vocab_size=290)
    alphabet = tokenizer.backend_tokenizer.decoder
    for encoded in encode_documents(tokenizer, DOCUMENTS):
        tokens = tokenizer.convert_ids_to_tokens(encoded.ids.tolist())
        assert [len(alphabet.decode([token])) for token in tokens] == encoded.num_bytes.tolist()
