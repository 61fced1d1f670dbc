"""SentencePiece: the same ids as the library itself."""

import random
import unicodedata

import pytest
import sentencepiece

from model_foundry.errors import DataError
from model_foundry.tokenizer.sentencepiece import split_for_training
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.tokenizer.plainly import encode_plainly, is_lossless


@pytest.mark.parametrize("byte_fallback", [True, False])
@pytest.mark.parametrize("normalization", ["identity", "nfkc", "nmt_nfkc"])
@pytest.mark.parametrize("kind", ["unigram", "sentencepiece_bpe"])
def test_ids_equal_the_library(kind, normalization, byte_fallback, train, odd_texts, tmp_path):
    options = {"normalization": normalization, "byte_fallback": byte_fallback}
    tokenizer = train(kind, output_dir=tmp_path / "t", **options)
    library = sentencepiece.SentencePieceProcessor(str(tmp_path / "t" / "tokenizer.model"))
    ours = [encoded.ids.tolist() for encoded in encode_plainly(tokenizer, odd_texts)]
    if normalization != "identity":
        odd_texts = [unicodedata.normalize("NFKC", text) for text in odd_texts]
    assert ours == library.encode(odd_texts)
    assert len(tokenizer) == library.vocab_size()


@pytest.mark.parametrize("kind", ["unigram", "sentencepiece_bpe"])
def test_pieces_equal_the_library_one_by_one(kind, train, tmp_path):
    tokenizer = train(kind, output_dir=tmp_path / "t")
    library = sentencepiece.SentencePieceProcessor(str(tmp_path / "t" / "tokenizer.model"))
    ids = list(range(library.vocab_size()))
    assert tokenizer.convert_ids_to_tokens(ids) == library.id_to_piece(ids)


def test_trimming_normalization_decodes_like_the_library(train, tmp_path):
    tokenizer = train("unigram", output_dir=tmp_path / "t", normalization="nmt_nfkc")
    library = sentencepiece.SentencePieceProcessor(str(tmp_path / "t" / "tokenizer.model"))
    for text in ("  the quick\n brown  fox ", "ﬁne ①", "the", ""):
        ids = library.encode(text)
        assert tokenizer.decode(ids) == library.decode(ids)


@pytest.mark.parametrize("normalization", ["nfkc", "nmt_nfkc"])
def test_decomposed_text_is_composed_and_keeps_its_marks(normalization, train):
    normalizer = train("unigram", normalization=normalization).backend_tokenizer.normalizer
    texts = ["vie\u0323\u0302t", "①\u0301", "ﬁ\u0301", "a\u0308\u0301", "ﾊﾞ", "が한글", "ü\u0301"]
    for text in texts:
        composed = unicodedata.normalize("NFKC", text)
        for form in ("NFC", "NFD"):
            assert normalizer.normalize_str(unicodedata.normalize(form, text)) == "▁" + composed


def test_training_text_is_composed_as_texts_are(train):
    tokenizer = train("unigram", documents=["ü\u0301 x"] * 20, normalization="nfkc")
    assert "ǘ" in tokenizer.get_vocab()


def test_training_pieces_lose_no_character():
    draw = random.Random(0)
    texts = ["".join(draw.choices("ab \n", k=draw.randint(0, 300))) for _ in range(200)]
    texts += ["x" * 20_000, "word " * 5000, "\n" * 1000, " " * 9000, "中" * 9000 + "\n"]
    for text in texts:
        pieces = list(split_for_training(text))
        assert "".join(pieces) == text
        assert all(0 < len(piece) <= 4200 for piece in pieces)


def test_long_lines_are_cut_before_a_space():
    pieces = list(split_for_training("word " * 5000))
    assert all(piece.startswith(" word") for piece in pieces[1:])


@pytest.mark.parametrize("kind", ["unigram", "sentencepiece_bpe"])
@pytest.mark.parametrize(
    "document",
    [
        "qzabjk" * 30 + "中" * 3900,
        "qz " * 50 + "ab " * 3000 + "jk " * 50,
        "qz\u2585ab\0jk",
        "qz <unk>ab <mask>jk",
        "qz<0x41>ab jk\n",
    ],
)
def test_no_part_of_a_document_is_skipped(kind, document, train):
    tokenizer = train(kind, documents=[document] * 20)
    assert set("qzabjk") <= tokenizer.get_vocab().keys()


def test_the_text_inside_a_special_string_is_learned(train):
    tokenizer = train("unigram", documents=["<unk> <mask>"] * 20)
    assert set("<unk>mas") <= tokenizer.get_vocab().keys()


@pytest.mark.parametrize("document", ["one\ntwo", "one\n", "\none"])
@pytest.mark.parametrize("kind", ["unigram", "sentencepiece_bpe"])
def test_newlines_enter_the_vocabulary(kind, document, train):
    tokenizer = train(kind, documents=[document] * 20)
    assert "\n" in tokenizer.get_vocab()


def test_text_beside_the_mask_keeps_its_spaces(train):
    tokenizer = train("unigram")
    ids = tokenizer("the <mask> fox", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == "the <mask> fox"


def test_without_byte_fallback_unseen_characters_are_unknown(train):
    tokenizer = train("unigram", byte_fallback=False)
    assert len(tokenizer) < 420
    assert not is_lossless(tokenizer, ["龍"])
    (encoded,) = encode_plainly(tokenizer, ["龍"])
    assert encoded.ids.tolist() == [tokenizer.unk_token_id]


def test_a_failure_of_the_library_is_one_clear_line(capfd):
    with pytest.raises(DataError, match=r"SentencePiece cannot be trained.*Check data\.train") as e:
        TokenizerFactory.train_sentencepiece(documents=["\u2585\0"], vocab_size=300)
    assert "\n" not in str(e.value)
    assert "src/" not in str(e.value)
    TokenizerFactory.train_sentencepiece(documents=["quiet training"] * 9, vocab_size=280)
    assert capfd.readouterr() == ("", "")
