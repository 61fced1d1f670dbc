"""Words: the vocabulary equals an independent count."""

import random
from collections import Counter

import pytest

from model_foundry.config import TokenizerConfig
from model_foundry.errors import DataError
from model_foundry.tokenizer.tokenizer_factory import (
    TokenizerFactory,
    check_settings,
    train_tokenizer_from_config,
)
from tests.experiments import tiny_experiment
from tests.tokenizer.plainly import encode_plainly, is_lossless

SPECIALS = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]


def known_by_hand(documents, *, vocab_size, min_frequency):
    """Return the vocabulary in the order of its ids."""
    counts = Counter(word for text in documents for word in text.split())
    ranked = sorted(counts, key=lambda word: (-counts[word], word.encode()))
    kept = [w for w in ranked if counts[w] >= min_frequency and w not in SPECIALS]
    return (SPECIALS + kept)[:vocab_size]


@pytest.mark.parametrize("min_frequency", [1, 3, 70])
@pytest.mark.parametrize("vocab_size", [6, 20, 1000])
def test_the_most_frequent_words_are_known(documents, vocab_size, min_frequency):
    settings = {"vocab_size": vocab_size, "min_frequency": min_frequency}
    tokenizer = TokenizerFactory.train_word(documents=documents, **settings)
    expected = known_by_hand(documents, **settings)
    assert tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))) == expected


def test_a_frequency_cut_drops_exactly_what_is_rarer():
    documents = ["a a a b b c", "c c b"]
    for cut, known in ((1, "abc"), (3, "abc"), (4, "c")):
        texts = documents if cut < 4 else [*documents, "c"]
        tokenizer = TokenizerFactory.train_word(documents=texts, min_frequency=cut)
        assert sorted(set(tokenizer.get_vocab()) - set(SPECIALS)) == list(known)


def test_every_word_of_a_text_is_one_token(train, documents):
    tokenizer = train("word", vocab_size=25)
    vocabulary = tokenizer.get_vocab()
    draw = random.Random(0)
    white_space = [" ", "\n", "\t", "  \n", "\u00a0", "\u3000"]
    texts = ["".join(w + draw.choice(white_space) for w in text.split()) for text in documents]
    for text, encoded in zip(texts, encode_plainly(tokenizer, texts), strict=True):
        words = ["<unk>" if word in SPECIALS else word for word in text.split()]
        expected = [vocabulary.get(word, tokenizer.unk_token_id) for word in words]
        assert encoded.ids.tolist() == expected
        assert encoded.num_bytes.sum() == len(text.encode())


def test_decoding_joins_words_with_a_blank(train):
    tokenizer = train("word", documents=["the fox  runs\naway ."])
    ids = encode_plainly(tokenizer, ["the  fox\truns\n\naway ."])[0].ids.tolist()
    assert tokenizer.decode(ids) == "the fox runs away ."
    assert is_lossless(tokenizer, ["fox runs"])
    assert not is_lossless(tokenizer, ["fox  runs"]) and not is_lossless(tokenizer, ["dog runs"])


def test_special_tokens_as_words_of_a_text_are_unknown():
    tokenizer = TokenizerFactory.train_word(documents=["<s> <s> x<s> a </s>\n<mask>"])
    assert len(tokenizer) == 5 + 2  # x<s> and a
    (encoded,) = encode_plainly(tokenizer, ["a <s> x<s> </s>\u3000<mask>"])
    tokens = tokenizer.convert_ids_to_tokens(encoded.ids.tolist())
    assert tokens == ["a", "<unk>", "x<s>", "<unk>", "<unk>"]


def test_a_cut_that_no_word_survives_is_a_data_error():
    message = r"^tokenizer\.min_frequency \(=3\): no word .* occurs so often; lower it\.$"
    with pytest.raises(DataError, match=message):
        TokenizerFactory.train_word(documents=["a b b"], min_frequency=3)
    with pytest.raises(DataError, match=r"min_frequency \(=1\)"):
        TokenizerFactory.train_word(documents=["  \n", "<s>"])


def test_settings_are_checked_without_a_text_that_has_the_words():
    check_settings(TokenizerConfig(tokenizer_type="word", vocab_size=10, min_frequency=50))


@pytest.mark.parametrize(("settings", "told"), [("vocab_size: 9000", 1), ("lowercase: false", 0)])
def test_fewer_words_than_a_setting_asks_for_are_told(settings, told, tmp_path, caplog):
    (tmp_path / "a.txt").write_text("a dog sees a cat\n" * 9)
    config = tiny_experiment(
        *("lstm", tmp_path, f"data.train={tmp_path / 'a.txt'}", "data.document=line"),
        *(
            f"data.cache_dir={tmp_path / 'cache'}",
            f"tokenizer={{tokenizer_type: word, {settings}}}",
        ),
    )
    train_tokenizer_from_config(config)
    few = "tokenizer.vocab_size: 9000 requested, but the training text yields only"
    assert caplog.text.count("requested") == caplog.text.count(few) == told
