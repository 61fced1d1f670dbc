"""Characters: one token each, the most frequent kept."""

from tests.tokenizer.plainly import encode_plainly, is_lossless


def test_every_seen_character_is_one_token(train):
    tokenizer = train("character", documents=["naïve\n中文"])
    assert len(tokenizer) == 5 + len(set("naïve\n中文"))
    (encoded,) = encode_plainly(tokenizer, ["中\nn"])
    assert tokenizer.convert_ids_to_tokens(encoded.ids.tolist()) == ["中", "\n", "n"]
    assert encoded.num_bytes.tolist() == [3, 1, 1]


def test_the_most_frequent_characters_are_kept(train):
    tokenizer = train("character", documents=["aaabbc"], vocab_size=7)
    assert tokenizer.convert_ids_to_tokens([5, 6]) == ["a", "b"]
    (encoded,) = encode_plainly(tokenizer, ["abc"])
    assert encoded.ids.tolist() == [5, 6, tokenizer.unk_token_id]
    assert not is_lossless(tokenizer, ["abc"])


def test_equal_counts_are_ordered_by_code_point(train):
    tokenizer = train("character", documents=["cab"])
    assert tokenizer.convert_ids_to_tokens([5, 6, 7]) == ["a", "b", "c"]
