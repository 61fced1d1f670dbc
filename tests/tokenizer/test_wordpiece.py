"""WordPiece: the pieces of words, and the loss of white space and case."""

from transformers import BertTokenizer

from model_foundry.tokenizer import wordpiece
from tests.tokenizer.plainly import encode_plainly


def pieces(tokenizer, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(encode_plainly(tokenizer, [text])[0].ids.tolist())


def test_ids_equal_the_bert_tokenizer_with_the_same_vocabulary(train, odd_texts):
    for lowercase in (False, True):
        tokenizer = train("wordpiece", lowercase=lowercase)
        vocab = tokenizer.get_vocab()
        oracle = BertTokenizer(vocab=vocab, do_lower_case=lowercase)
        for text in odd_texts:
            if max(map(len, text.split()), default=0) <= wordpiece.LONGEST_WORD:
                assert tokenizer(text)["input_ids"] == oracle(text)["input_ids"]


def test_a_long_stretch_without_spaces_is_no_unknown_word(train):
    thai = "ภาษาไทยไม่มีช่องว่าง" * 20
    tokenizer = train("wordpiece", documents=[thai, thai[5:]] * 20, vocab_size=120)
    found = pieces(tokenizer, thai)
    assert tokenizer.unk_token not in found
    assert "".join(piece.removeprefix("##") for piece in found) == thai


def test_time_grows_with_the_length_of_a_word_and_not_with_its_cube(train):
    """The library's own search looks up every part of a word: it would take hours for this one."""
    tokenizer = train("wordpiece", documents=["ab" * 50] * 20, vocab_size=40)
    assert len(pieces(tokenizer, "ab" * 50_000)) >= 1000


def test_words_are_split_into_marked_pieces(train):
    tokenizer = train("wordpiece", documents=["run runs jump jumps"] * 20, vocab_size=40)
    assert pieces(tokenizer, "jumpsum") == ["jumps", "##u", "##m"]


def test_lowercase_strips_case_and_accents(train):
    tokenizer = train("wordpiece", lowercase=True)
    assert pieces(tokenizer, "CAFÉ") == pieces(tokenizer, "cafe")
    assert pieces(train("wordpiece"), "THE") != pieces(train("wordpiece"), "the")


def test_unseen_characters_are_unknown(train):
    assert pieces(train("wordpiece"), "the 龍") == ["the", "[UNK]"]


def test_the_most_frequent_words_are_learned(train):
    alphabet = set("rarelyoften") | {f"##{inner}" for inner in "arelyften"}
    merges = len("often") - 1
    size = 5 + len(alphabet) + merges  # no room for anything but the one word
    tokenizer = train("wordpiece", documents=["rarely " + "often " * 50], vocab_size=size)
    assert pieces(tokenizer, "often") == ["often"]
