"""Bytes and words of each token, and texts that are encoded in pieces."""

import hashlib
import random
from functools import cache

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from model_foundry.data.sources import text_batch
from model_foundry.data.sources.text_batch import Pieces, TextBatch
from model_foundry.data.tokens import chunk_cache
from model_foundry.data.tokens.chunk_cache import CHARACTERS, LONE_SPACES
from model_foundry.data.tokens.document_frame import document_frame
from model_foundry.data.tokens.encoding import CannotBeCutError, Encoded, Encoder
from model_foundry.data.tokens.text_bytes import count_bytes, text_digests
from model_foundry.errors import DataError
from model_foundry.tokenizer.tokenizer_factory import TRAINERS, TokenizerFactory
from tests.data.corpora import SPACES, WORDS, pieces_of, pieces_with, text_of, tokenizer_of

DOCUMENTS = ["the quick brown fox jumps\n  over the lazy dog.", "  the dog, quick and brown "] * 20
KINDS = sorted(TRAINERS)
NASTY = [
    "",
    " ",
    "   ",
    "\n",
    "the\u3000dog\u3000",
    "e\u0301e\u0301 a\u0308\u0301 \u0301 cat",
    " the",
    "the ",
    "\u200bdog\u200b",
    "\u200b\u200b",
    "a\x00b\x07 c",
    "👩\u200d👩\u200d👧 🗼",
    "[CLS] <s> </s> <unk> [MASK] <|endoftext|>",
    "\u2581dog \u2581\u2581",
    "ﬁﬁ ① ½ Å Ω",
    "\x1c\x1d \x85 \u2028",
    "صباح الخير",
    "\ufffd\ufeff",
    "word" * 50,
]


@cache
def encoder_of(kind: str) -> Encoder:
    if kind == "nfkc":
        text = [text_of(3000, 0)]
        return Encoder(
            TokenizerFactory.train_sentencepiece(
                documents=text, vocab_size=320, normalization="nfkc"
            )
        )
    return Encoder(tokenizer_of(kind))


def dropping() -> PreTrainedTokenizerFast:
    """A tokenizer that has no id for a text without letters."""
    backend = Tokenizer(models.WordLevel({"a": 0, "b": 1, "[SEP]": 2, "?": 3}, unk_token="?"))
    backend.normalizer = normalizers.Replace("-", "")
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, sep_token="[SEP]")


def counted(text: str, *ends: int) -> list[int]:
    return count_bytes(text, np.array(ends, dtype=np.int64)).tolist()


def totals(encoded: Encoded) -> tuple[int, int]:
    return (
        int(encoded.num_bytes.sum()) + encoded.rest[0],
        int(encoded.num_words.sum()) + encoded.rest[1],
    )


def size_of(text: str) -> tuple[int, int]:
    return len(text.encode()), len(text.split())


def test_skipped_text_belongs_to_the_next_token_and_the_tail_to_the_last() -> None:
    assert counted("  ab  cd  ", 4, 8) == [4, 6]


def test_characters_count_by_their_width() -> None:
    assert counted("aé中👩", 1, 2, 3, 4) == [1, 2, 3, 4]


def test_tokens_sharing_a_character_sum_to_its_width() -> None:
    assert counted("é!", 1, 1, 2) == [2, 0, 1]


def test_ends_that_step_back_take_nothing_away() -> None:
    assert counted("abcd", 3, 2, 4) == [3, 0, 1]


def test_no_tokens_no_bytes() -> None:
    assert counted("  ") == []


def test_wordpiece_counts_the_space_with_the_word_behind_it() -> None:
    tokenizer = TokenizerFactory.train_wordpiece(documents=DOCUMENTS, vocab_size=80)
    encoded = Encoder(tokenizer).encode(pieces_of("the  quick brown "))
    tokens = tokenizer.convert_ids_to_tokens(encoded.ids.tolist())
    assert tokens == ["[CLS]", "the", "quick", "brown", "[SEP]"]
    assert encoded.num_bytes.tolist() == [0, 3, 7, 7, 0]
    assert encoded.num_words.tolist() == [0, 1, 1, 1, 0]


def test_bytes_agree_with_the_decoded_tokens_of_a_byte_tokenizer() -> None:
    tokenizer = TokenizerFactory.train_bpe(documents=DOCUMENTS, vocab_size=290)
    alphabet = tokenizer.backend_tokenizer.decoder
    for text in DOCUMENTS:
        encoded = Encoder(tokenizer).encode(pieces_with((text, False), before=" "))
        tokens = tokenizer.convert_ids_to_tokens(encoded.ids.tolist())
        assert [len(alphabet.decode([token])) for token in tokens] == encoded.num_bytes.tolist()


def test_words_are_counted_where_they_begin() -> None:
    tokenizer = tokenizer_of("character", ["né à\u2003b  cd"])
    encoded = Encoder(tokenizer).encode(pieces_with(("né à\u2003b  cd", False), before=" "))
    assert encoded.num_words.tolist() == [1, 0, 0, 1, 0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize("kind", [*KINDS, "nfkc"])
def test_bytes_and_words_of_each_document_are_those_of_its_text(kind: str) -> None:
    encoder = encoder_of(kind)
    texts = [*NASTY, text_of(40, 1)]
    together = encoder.encode(pieces_of(*texts))
    parts = np.split(np.arange(len(together.ids)), together.piece_ends[:-1])
    for text, part in zip(texts, parts, strict=True):
        here = int(together.num_bytes[part].sum()), int(together.num_words[part].sum())
        assert here == size_of(text), text
        alone = encoder.encode(pieces_of(text))
        assert totals(alone) == size_of(text)
        assert alone.ids.tolist() == together.ids[part].tolist()


@pytest.mark.parametrize("kind", [*KINDS, "nfkc"])
def test_pieces_of_a_text_give_the_ids_of_the_whole(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_batch, "PIECE", 200)
    encoder = encoder_of(kind)
    assert encoder.cuts
    for seed in range(40):
        text = text_of(300, seed)
        cut = pieces_of(text)
        apart = encoder.encode(cut)
        whole = encoder.backend.encode(text, add_special_tokens=False).ids
        assert len(cut.ends) > 5
        assert apart.ids.tolist() == [*encoder.before, *whole, *encoder.after]
        assert totals(apart) == size_of(text)
        assert len(apart.piece_ends) == len(cut.ends)


@pytest.mark.parametrize("kind", KINDS)
def test_the_chunk_cache_changes_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text_of(30, seed) for seed in range(30)]
    fresh = [Encoder(tokenizer_of(kind)).encode(pieces_of(text)) for text in texts[-2:]]
    for chunks, num_bytes in ((20, 10**6), (10**6, 200), (10**6, 10**6)):
        monkeypatch.setattr(chunk_cache, "MOST_KNOWN", chunks)
        monkeypatch.setattr(chunk_cache, "MOST_BYTES", num_bytes)
        encoder = Encoder(tokenizer_of(kind))
        found = [encoder.encode(pieces_of(text)) for text in texts]
        is_small = len(encoder._chunks._known) < 100
        assert is_small == (chunks < 100 or num_bytes < 1000)
        for one, other in zip(fresh, found[-2:], strict=True):
            assert one.ids.tolist() == other.ids.tolist()
            assert one.num_bytes.tolist() == other.num_bytes.tolist()


SIGNS = [*"()[]{}.,:;=+-*/'\"_#@$%^&|~`<>!?\\", "'s", "'ll", "''", "\x1c", "\x0b", "->", "\r"]


def code_of(length: int, seed: int) -> str:
    """Return a text of letters, digits, signs and white space in any order."""
    draw = random.Random(seed)
    spaces = [*SPACES, " ", "    ", "\n\n"]
    drawn = [*SIGNS, *WORDS, "s", "LL", "1", "042", *spaces, "e\u0301", "\u0301"]
    return "".join(draw.choice(drawn) for _ in range(length))


@pytest.mark.parametrize("kind", [*KINDS, "nfkc"])
def test_chunks_of_any_text_give_the_ids_of_the_whole(kind: str) -> None:
    encoder = encoder_of(kind)
    texts = [code_of(40, seed) for seed in range(300)] + NASTY[:10]
    whole = encoder.backend.encode_batch(texts, add_special_tokens=False)
    for rule in Encoder.rules.func(encoder):
        for text, expected in zip(texts, whole, strict=True):
            found = chunk_cache.Chunks(encoder.plain.encode).encode([text], rule)
            if rule is LONE_SPACES or found.exact.all():
                assert found.ids.tolist() == expected.ids, (text, rule)


def test_chunks_are_cut_between_letters_digits_signs_and_spaces() -> None:
    text = "foo_bar(x1, 'naïve(y')  it's ('s\t\n42\0 élan. a"
    assert CHARACTERS.findall(text) == [
        *("foo", "_", "bar", "(", "x", "1", ",", " 'naïve(y')", "  it", "'s", " ('", "s"),
        *("\t\n42", "\0", " élan.", " a"),
    ]
    assert LONE_SPACES.findall("  a b\tc  d\0 e f ") == ["  a", " b\tc  d", "\0", " e", " f "]
    for seed in range(50):
        for rule in (CHARACTERS, LONE_SPACES):
            assert "".join(rule.findall(code_of(60, seed))) == code_of(60, seed)


def test_the_finer_rule_holds_for_tokenizers_whose_tokens_are_within_its_chunks() -> None:
    rules = {kind: Encoder(tokenizer_of(kind)).rules for kind in KINDS}
    assert rules["bpe"] == rules["character"] == [CHARACTERS, LONE_SPACES]
    # sentencepiece has tokens of digits and signs, and `foo_x1` is one word
    assert rules["sentencepiece"] == rules["word"] == [LONE_SPACES]
    backend = Tokenizer(models.BPE({"a": 0, "(": 1, "a(": 2, " ": 3}, [("a", "(")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, sep_token="(")
    assert CHARACTERS not in Encoder(tokenizer).rules


def test_text_that_has_unknown_characters_is_cut_only_at_spaces() -> None:
    encoder, expected = (Encoder(tokenizer_of("character")) for _ in range(2))
    encoder.rules, expected.rules = [CHARACTERS, LONE_SPACES], [LONE_SPACES]
    for text, rules in (("the dog", 2), ("the Ж Ж dog", 1), ("the dog", 1)):
        found, other = (each.encode(pieces_of(text)) for each in (encoder, expected))
        assert found.ids.tolist() == other.ids.tolist()
        assert found.num_bytes.tolist() == other.num_bytes.tolist()
        assert len(encoder.rules) == rules


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_with_the_border_between_texts_is_encoded_as_any_other(kind: str) -> None:
    texts = ["the\0dog", "\0", "a\0\0b c"]
    whole = encoder_of(kind).backend.encode_batch(texts, add_special_tokens=False)
    found = encoder_of(kind)._encode(texts)
    assert found.ids.tolist() == [index for encoding in whole for index in encoding.ids]
    assert found.counts.tolist() == [len(encoding.ids) for encoding in whole]


def test_texts_are_not_joined_for_a_tokenizer_that_marks_the_first() -> None:
    backend = Tokenizer(models.BPE({"\u2581": 0, "a": 1, "b": 2}, [], unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse()])
    encoder = Encoder(PreTrainedTokenizerFast(tokenizer_object=backend, sep_token="a"))
    assert not encoder.plain._joins and encoder_of("bpe").plain._joins
    assert encoder.encode(pieces_of("b", "b")).ids.tolist() == [0, 2, 1, 0, 2, 1]


def test_counting_does_not_cut_for_a_tokenizer_that_joins_across_spaces() -> None:
    backend = Tokenizer(models.WordLevel({"one dog": 0, "?": 1, "one": 2}, unk_token="?"))
    encoder = Encoder(PreTrainedTokenizerFast(tokenizer_object=backend, sep_token="?"))
    encoder.rules = [LONE_SPACES]  # as if the probe had not shown it
    with pytest.raises(CannotBeCutError):
        encoder.encode(pieces_of("one dog"))
    encoder.rules = [LONE_SPACES]
    assert encoder.count(["one dog", "one", "one dog one dog"]) == [2, 2, 2]
    assert encoder.cuts is False


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_that_is_cut_stays_one_word_in_any_batches(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_batch, "PIECE", 8)
    encoder, text = encoder_of(kind), "doghouse" * 5 + " " + "cat" * 9 + "\u3000" * 20 + "é\u0301"
    cut, before, each = pieces_of(text), "", []
    for part in cut.parts():
        each.append(encoder.encode(pieces_with((part, False), before=before)))
        before = part[-1]
    summed = np.sum([totals(encoded) for encoded in each], axis=0)
    assert tuple(summed) == totals(encoder.encode(cut)) == size_of(text)


def test_a_tokenizer_that_marks_the_start_of_a_text_is_not_cut() -> None:
    backend = Tokenizer(models.BPE({"\u2581": 0, "a": 1}, [], unk_token="a"))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    assert not Encoder(PreTrainedTokenizerFast(tokenizer_object=backend, sep_token="a")).cuts


def test_a_batch_frames_documents_and_not_their_pieces() -> None:
    tokenizer = tokenizer_of("bpe")
    encoder = Encoder(tokenizer)
    before, after = document_frame(tokenizer)
    assert before and after
    parts = [("the dog", True), ("a cat", False), (" sees", False), (" it", True), ("", True)]
    batch = pieces_with(*parts)
    plain = [tokenizer(text, add_special_tokens=False)["input_ids"] for text, _ in parts]
    encoded = encoder.encode(batch)
    expected = [
        [*before, *plain[0], *after],
        [*before, *plain[1]],
        plain[2],
        [*plain[3], *after],
        [*before, *after],
    ]
    assert encoded.ids.tolist() == [index for ids in expected for index in ids]
    assert encoded.piece_ends.tolist() == np.cumsum([len(ids) for ids in expected]).tolist()
    frame = np.isin(encoded.ids, [*before, *after])
    assert encoded.num_bytes[frame].sum() == encoded.num_words[frame].sum() == 0


def test_specials_in_a_text_are_plain_text_and_settings_come_back() -> None:
    tokenizer = tokenizer_of("bpe")
    encoder, backend = Encoder(tokenizer), tokenizer.backend_tokenizer
    backend.enable_truncation(max_length=3)
    backend.enable_padding(length=7)
    eos = tokenizer.eos_token_id
    encoded = encoder.encode(pieces_of(f"the dog sees a cat {tokenizer.eos_token}"))
    assert (encoded.ids == eos).sum() == 1 and len(encoded.ids) > 7
    assert backend.truncation["max_length"] == 3 and backend.padding["length"] == 7
    assert backend.encode_special_tokens is False


def test_text_without_tokens_belongs_to_the_token_behind_it() -> None:
    encoder = Encoder(dropping())
    batch = pieces_with(
        ("- -", True),  # a whole document: the end of its frame
        ("--- -", False),
        (" a -", True),
        (" b", False),
        ("---", True),
        ("- -", False),  # what is behind it is in another batch
    )
    encoded = encoder.encode(batch)
    a, b, end = range(3)
    assert encoded.ids.tolist() == [end, a, end, b, end]
    assert encoded.num_bytes.tolist() == [3, 9, 0, 2, 3]
    assert encoded.num_words.tolist() == [2, 4, 0, 1, 0]
    assert encoded.rest == (3, 2)
    assert encoder.encode(pieces_with(("--", False))).rest == (2, 1)


def test_an_empty_batch_gives_nothing() -> None:
    for kind in KINDS:
        encoded = encoder_of(kind).encode(pieces_of())
        assert len(encoded.ids) == len(encoded.piece_ends) == len(encoded.num_words) == 0
        assert encoded.rest == (0, 0) and encoded.lossless


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_comes_back_is_lossless_and_another_is_not(kind: str) -> None:
    loses = kind in ("wordpiece", "character", "word")
    encoder, known = encoder_of(kind), "the dog chases"
    assert encoder.encode(pieces_of(known)).lossless is True
    assert encoder.encode(pieces_of(known, "the Ж\u0300 dog")).lossless is not loses


def test_the_digest_of_a_text_is_that_of_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    assert text_digests(TextBatch.of(["né"])) == hashlib.sha256("né".encode()).digest()
    monkeypatch.setattr(text_batch, "PIECE", 20)
    texts = [text_of(30, 2), "", "short", text_of(30, 3)]
    expected = []
    for text in texts:
        parts = [hashlib.sha256(part.encode()).digest() for part in pieces_of(text).parts()]
        expected.append(parts[0] if len(parts) == 1 else hashlib.sha256(b"".join(parts)).digest())
    assert text_digests(TextBatch.of(texts)) == b"".join(expected)
    # so a tokenizer that is not to be cut gives the same
    whole = Pieces.whole(TextBatch.of(texts))
    assert encoder_of("bpe").encode(whole).digests == b"".join(expected)
    assert text_digests(TextBatch.of([])) == b""


@pytest.mark.parametrize("kind", KINDS)
def test_documents_are_counted_as_they_are_encoded(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_batch, "PIECE", 50)
    encoder, draw = encoder_of(kind), random.Random(0)
    texts = [*NASTY, *(text_of(draw.randint(1, 60), seed) for seed in range(20))]
    counts = [len(encoder.encode(pieces_of(text)).ids) for text in texts]
    assert encoder.count(texts) == counts


def test_tokenizer_that_cannot_end_a_document_is_refused() -> None:
    tokenizer = TokenizerFactory.train_bpe(documents=DOCUMENTS, vocab_size=262)
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="neither an eos nor a sep token"):
        document_frame(tokenizer)
