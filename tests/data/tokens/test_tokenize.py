"""Streams: frames, counts of bytes and words, the cache, and failures."""

import os
import signal
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from model_foundry.config import INTERVENTIONS, DataConfig
from model_foundry.data.corpus.corpus import Component
from model_foundry.data.corpus.splits import open_splits
from model_foundry.data.sources import text_batch
from model_foundry.data.sources.text_batch import PIECE
from model_foundry.data.tokens import stream_writer, tokenize
from model_foundry.data.tokens.chunk_cache import LONE_SPACES
from model_foundry.data.tokens.encoding import Encoder
from model_foundry.data.tokens.stream_writer import EncodedBatch, StreamWriter
from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.errors import DataError, SaveError, WorkerError
from model_foundry.foundation import process_pool
from model_foundry.foundation.atomic_files import find_damage
from model_foundry.foundation.interrupts import handle_signals
from model_foundry.interventions.registration import register_intervention
from model_foundry.tokenizer.tokenizer_factory import TRAINERS, TokenizerFactory
from tests.children import KILLED, child_running, in_child
from tests.data.corpora import Texts, documents_of, split_of, stream_from, text_of, tokenizer_of
from tests.data.tokens.test_encoding import dropping
from tests.waiting import wait_until

TEXTS = [
    "The dogs near the old house chase a cat.",
    "  two  spaces,\ttabs\nand lines \n",
    "naïve café: 東京 is 🗼 tall",
    "x",
]
SMALL = 400  # characters in a batch, so that there are many of them


@pytest.fixture(scope="module", params=sorted(TRAINERS))
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return tokenizer_of(request.param, TEXTS * 30)


@pytest.fixture(scope="module")
def bpe() -> PreTrainedTokenizerFast:
    return tokenizer_of("bpe")


def ids_of(stream: TokenStream) -> list[int]:
    return np.asarray(stream.tokens).tolist()


def made(cache: Path) -> list[Path]:
    """Return all entries among the streams of a cache, without locks."""
    found = (cache / "tokens").glob("*") if (cache / "tokens").is_dir() else []
    return [path for path in found if not path.name.endswith(".lock")]


def same(one: TokenStream, other: TokenStream) -> bool:
    arrays = ("tokens", "num_bytes", "num_words", "document_ends", "document_digests")
    equal = (np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
    return all(equal) and one.facts == other.facts


# --- what is in a stream --------------------------------------------------------------------------


UNKNOWN = "zzz 龍龍 the cat"
UNKNOWN_OF = {"bpe": (0, 0), "character": (5, 9), "wordpiece": (3, 10), "word": (2, 10)}


@pytest.mark.parametrize("kind", sorted(TRAINERS))
def test_text_that_the_vocabulary_cannot_spell_is_counted(kind: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(kind, ["the cat"] * 60)
    facts = stream_from([UNKNOWN, "the cat"], tokenizer, tmp_path).facts
    assert (facts.unknown, facts.unknown_bytes) == UNKNOWN_OF.get(kind, (0, 0))


def test_ends_of_documents_are_not_unknown_tokens(tmp_path: Path) -> None:
    """As in GPT-2, which has the same token for both."""
    tokenizer = tokenizer_of("bpe")
    tokenizer.unk_token = tokenizer.eos_token
    assert stream_from(["the cat"] * 3, tokenizer, tmp_path).facts.unknown == 0


def test_each_unspellable_byte_is_counted_once_per_document(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("character", ["the cat"])
    one, three = (stream_from([UNKNOWN] * n, tokenizer, tmp_path / str(n)).facts for n in (1, 3))
    assert (three.unknown, three.unknown_bytes) == (3 * one.unknown, 3 * one.unknown_bytes)


def test_documents_have_the_frame_of_the_tokenizer(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    stream = stream_from(TEXTS[:1], tokenizer, tmp_path)
    alone = tokenizer(TEXTS[0])["input_ids"]
    end = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    if alone[-1] != end:  # BOS comes from the template, EOS from the packer
        alone = [*alone, end]
    assert ids_of(stream) == alone


def test_every_byte_and_every_word_is_accounted_for(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    stream = stream_from(TEXTS, tokenizer, tmp_path)
    assert stream.bytes == sum(len(text.encode()) for text in TEXTS)
    assert stream.words == sum(len(text.split()) for text in TEXTS)
    assert stream.documents == len(TEXTS)
    first = 0
    for text, end in zip(TEXTS, stream.document_ends.tolist(), strict=True):
        assert int(stream.num_bytes[first:end].sum()) == len(text.encode())
        assert int(stream.num_words[first:end].sum()) == len(text.split())
        first = end
    special = np.isin(stream.tokens, tokenizer.all_special_ids)
    special &= np.asarray(stream.tokens) != (tokenizer.unk_token_id or -1)
    assert np.asarray(stream.num_bytes)[special].sum() == 0


def test_borders_of_documents_change_the_hash(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    joined = stream_from(["ab"], tokenizer, tmp_path)
    apart = stream_from(["a", "b"], tokenizer, tmp_path)
    assert joined.documents == 1 and apart.documents == 2
    assert joined.text_sha256 != apart.text_sha256


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, SMALL, 2**20])
@pytest.mark.parametrize("processes", [0, 1, 2, 3])
def test_neither_processes_nor_batches_change_a_stream(
    processes: int,
    batch: int,
    bpe: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text_batch, "PIECE", 300)
    texts = [*documents_of(15), text_of(300, 1), *TEXTS]
    expected = stream_from(texts, bpe, tmp_path / "expected")
    monkeypatch.setattr(process_pool, "BATCH", batch)
    found = stream_from(texts, bpe, tmp_path / "found", processes=processes)
    assert same(found, expected)


def test_text_without_tokens_is_counted_across_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_batch, "PIECE", 4)
    texts = ["----- - --- a -- b -----", "-", "--------", "a"]
    whole = stream_from(texts, dropping(), tmp_path / "whole")
    monkeypatch.setattr(process_pool, "BATCH", 1)
    apart = stream_from(texts, dropping(), tmp_path / "apart")
    assert same(whole, apart)
    ends = apart.document_ends.tolist()
    sums = [
        (int(apart.num_bytes[first:end].sum()), int(apart.num_words[first:end].sum()))
        for first, end in zip([0, *ends], ends, strict=False)
    ]
    assert sums == [(len(text), len(text.split())) for text in texts]
    assert (apart.bytes, apart.words) == (sum(map(len, texts)), 10)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_a_lone_surrogate_is_reported_with_the_text_before_it(
    processes: int, bpe: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_pool, "BATCH", SMALL)
    texts = [*documents_of(30), "the dog\ud800"]
    with pytest.raises(DataError, match=r"lone surrogate after 'the dog', which is not text"):
        stream_from(texts, bpe, tmp_path, processes=processes)
    assert made(tmp_path) == []


def test_an_empty_text_is_refused_and_nothing_is_cached(
    bpe: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    emptied = split_of(["abc"], interventions=[{"step": "replace", "pattern": "."}])
    for split, message in (
        (split_of(["", " "]), "texts: holds no text; name a corpus with text"),
        (emptied, r"data\.train: no document is left"),
    ):
        with pytest.raises(DataError, match=message):
            stream_from(split, bpe, tmp_path)
    assert made(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_a_tokenizer_that_joins_across_spaces_gets_whole_documents(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_pool, "BATCH", SMALL)
    backend = Tokenizer(models.WordLevel({"one dog": 0, "?": 1, "x": 2}, unk_token="?"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, sep_token="?")
    monkeypatch.setattr(tokenize, "Encoder", lambda _: encoder)
    encoder = Encoder(tokenizer)
    encoder.rules = [LONE_SPACES]  # as if the probe had not shown it
    texts = ["x"] * 100 + ["one dog"] + ["x"] * 100
    stream = stream_from(texts, tokenizer, tmp_path, processes=processes)
    assert ids_of(stream) == [2, 1] * 100 + [0, 1] + [2, 1] * 100
    assert (stream.documents, stream.bytes, len(made(tmp_path))) == (201, 207, 1)


@pytest.mark.slow
def test_left_out_documents_and_interventions_are_stored_with_the_stream(
    bpe: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_pool, "BATCH", 30)
    texts = ["The dog", " ", "A cat", "xxx", "the dog", "\n"]
    steps = ["lowercase", "drop_duplicates", {"step": "replace", "pattern": "x+"}]
    for processes in (0, 2):
        cache = tmp_path / str(processes)
        split = split_of(texts, interventions=steps)
        facts = stream_from(split, bpe, cache, processes=processes).facts
        assert facts.left_out == {"blank documents": 2, "emptied by interventions": 1}
        assert [step["step"] for step in facts.interventions] == [
            "lowercase",
            "drop_duplicates",
            "replace",
        ]
        assert (facts.bytes, facts.words) == (len("the dog" + "a cat"), 4)


# --- shards, types, memory ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_stream_in_shards_is_the_stream_in_one(
    bpe: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = documents_of(80)
    expected = stream_from(texts, bpe, tmp_path / "one")
    monkeypatch.setattr(process_pool, "BATCH", 100)
    monkeypatch.setattr(stream_writer, "SHARD", 64)
    found = stream_from(texts, bpe, tmp_path / "many", processes=2)
    assert len(found.tokens.shards) > 10 and len(expected.tokens.shards) == 1
    assert same(found, expected)
    tokens = np.asarray(expected.tokens)
    for start in range(0, len(found), 7):
        assert np.array_equal(found.tokens[start : start + 90], tokens[start : start + 90])


def test_a_token_of_many_bytes_widens_the_array(
    bpe: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    words = tokenizer_of("word")
    texts = ["the dog", "x" * 70_000 + " " * 300 + "cat"]
    stream = stream_from(texts, words, tmp_path)
    assert stream.tokens.shards[0].dtype == np.uint16
    assert stream.num_bytes.shards[0].dtype == np.uint16  # a stretch of PIECE is one unknown word
    assert stream.num_words.shards[0].dtype == np.uint8
    assert stream.bytes == 7 + 70_303 and stream.words == 4
    assert int(np.asarray(stream.num_bytes).max()) >= PIECE


@pytest.mark.slow
def test_a_file_larger_than_memory_is_tokenised_in_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_the_parent(process: int) -> None:
        tracemalloc.stop()

    monkeypatch.setattr(process_pool, "BATCH", 2**16)
    monkeypatch.setattr(process_pool, "_exit_with_parent", only_the_parent)
    line = "the big dogs near the old house chase a small cat and another one "
    tokenizer = TokenizerFactory.train_bpe(documents=[line] * 20, vocab_size=320)

    def peak(at_least: int) -> int:
        path, size = tmp_path / f"{at_least}.txt", 0
        with path.open("w") as file:
            while size < at_least:
                size += file.write(line * 10_000)
        files = {"train": str(path), "validation": str(path)}
        split = open_splits(DataConfig.model_validate(files), seed=0).train
        tracemalloc.start()
        try:
            stream = stream_from(split, tokenizer, tmp_path / "cache", processes=2)
            assert (stream.documents, stream.bytes) == (1, size)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    stream_from(TEXTS, tokenizer, tmp_path / "cache")  # what is imported late
    assert peak(24_000_000) < 1.3 * peak(6_000_000)


# --- the cache ------------------------------------------------------------------------------------


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("done again")


def test_a_warm_start_neither_reads_nor_tokenises(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stream_from(TEXTS, tokenizer, tmp_path)
    monkeypatch.setattr(tokenize, "Encoder", refuse)
    monkeypatch.setattr(Encoder, "encode", refuse)
    monkeypatch.setattr(Texts, "batches", refuse)
    assert same(stream_from(TEXTS, tokenizer, tmp_path), first)
    with pytest.raises(AssertionError, match="done again"):
        stream_from([*TEXTS[:-1], TEXTS[-1] + " more"], tokenizer, tmp_path)


def test_a_file_that_was_moved_is_found_and_one_that_changed_is_not(
    bpe: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, moved = tmp_path / "a.txt", tmp_path / "elsewhere" / "b.txt"
    moved.parent.mkdir()
    path.write_text("the dog\nthe cat\nthe house\n")
    before = path.stat()

    def stream(place: Path) -> TokenStream:
        settings = {"train": str(place), "document": "line", "validation": str(place)}
        splits = open_splits(DataConfig.model_validate(settings), seed=0)
        return stream_from(splits.train, bpe, tmp_path / "cache")

    first = stream(path)
    with monkeypatch.context() as patch:
        patch.setattr(tokenize, "Encoder", refuse)
        path.rename(moved)
        assert same(stream(moved), first)
    moved.write_text("the dog\nthe cow\nthe house\n")
    os.utime(moved, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ids_of(stream(moved)) != ids_of(first)


def test_another_tokenizer_has_another_stream_of_the_same_text(tmp_path: Path) -> None:
    streams = [
        stream_from([*TEXTS, text_of(4000, 0)], each, tmp_path)
        for each in [
            *(
                TokenizerFactory.train_bpe(documents=TEXTS * 30, vocab_size=size)
                for size in (265, 300)
            ),
            dropping(),
        ]
    ]
    assert len(streams[0]) > len(streams[1]) > len(streams[2])
    assert len({stream.text_sha256 for stream in streams}) == 1
    assert len({stream.facts.tokens_sha256 for stream in streams}) == 3


@pytest.mark.parametrize("name", ["tokens-00000.npy", "document_ends.npy", "stream.json"])
def test_a_damaged_stream_is_built_again(
    name: str,
    bpe: PreTrainedTokenizerFast,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = stream_from(TEXTS, bpe, tmp_path / "other")
    stream_from(TEXTS, bpe, tmp_path)
    (place,) = made(tmp_path)
    raw = bytearray((place / name).read_bytes())
    raw[-3] ^= 1
    (place / name).write_bytes(raw)
    assert same(stream_from(TEXTS, bpe, tmp_path), expected)
    assert f"is damaged ({name} differs from what was saved) and is built again" in caplog.text
    assert find_damage(place) is None


@pytest.mark.slow
def test_documents_of_another_stream_are_left_out(
    bpe: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_pool, "BATCH", 60)
    long = text_of(3000, 1)  # more than one piece
    training = stream_from(["the dog", "a cat", long], bpe, tmp_path)
    texts = ["A Cat", "the cow", long, "the dog", "the cow"]
    for processes in (0, 2):
        cache = tmp_path / str(processes)
        plain = split_of(texts)
        rest = stream_from(plain, bpe, cache, without=training, processes=processes)
        assert ids_of(stream_from(["A Cat", "the cow", "the cow"], bpe, cache)) == ids_of(rest)
        assert rest.documents == 3
        assert rest.facts.left_out == {"in the training text too": 2}
        assert stream_from(plain, bpe, cache).documents == 5  # the split is as it was
        changed = split_of(["A Cat", "the cow"], interventions=["lowercase"])
        left = stream_from(changed, bpe, cache, without=training, processes=processes)
        assert (left.documents, left.bytes) == (1, len("the cow"))
    with pytest.raises(DataError, match="no document is left"):
        stream_from(["a cat"], bpe, tmp_path, without=training)


# --- when it fails --------------------------------------------------------------------------------


@pytest.fixture
def deadly() -> Iterator[str]:
    """A step that kills its process at the 20th document."""
    home = os.getpid()

    @register_intervention("deadly")
    def deadly(text: str, *, index: int) -> str:
        if index == 20:
            assert os.getpid() != home
            os.kill(os.getpid(), signal.SIGKILL)
        return text

    yield "deadly"
    INTERVENTIONS.remove("deadly")


@pytest.mark.slow
def test_a_killed_process_is_reported_and_nothing_is_cached(
    deadly: str,
    bpe: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_pool, "BATCH", SMALL)
    split = split_of(documents_of(60), interventions=[deadly])
    with pytest.raises(WorkerError, match=r"data\.preprocessing_num_workers: .*died") as caught:
        stream_from(split, bpe, tmp_path, processes=2)
    assert caught.value.exit_code == 9
    assert made(tmp_path) == []


def test_a_disk_that_is_full_leaves_nothing(
    bpe: PreTrainedTokenizerFast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stream_writer.ArrayFile, "append", full)
    with pytest.raises(SaveError, match="No space left on device"):
        stream_from(TEXTS, bpe, tmp_path)
    assert made(tmp_path) == []


def tokenise_slowly(directory: Path, number: int) -> None:
    """Tokenize a text in two processes; halfway, send a signal to this one."""
    append, calls = StreamWriter.append, 0

    def counting(writer: StreamWriter, batch: EncodedBatch) -> None:
        nonlocal calls
        calls += 1
        append(writer, batch)
        if calls == 5:
            (directory / "reached").touch()
            os.kill(os.getpid(), number)
            time.sleep(0.2)

    StreamWriter.append = counting  # type: ignore[method-assign]
    process_pool.BATCH = SMALL
    with handle_signals():
        source = Component(Texts(documents_of(2000)))
        stream_from(split_of(source), tokenizer_of("bpe"), directory / "cache", processes=2)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, KILLED)])
def test_a_signal_in_the_middle_leaves_no_stream(number: int, code: int, tmp_path: Path) -> None:
    ended = in_child(tokenise_slowly, tmp_path, number)
    assert ended.code == code, ended.stderr
    assert (tmp_path / "reached").exists()
    left = made(tmp_path / "cache")
    if number == signal.SIGTERM:
        assert left == []
        assert "during the tokenization of the train text: stopping" in ended.stderr
    assert all(path.name.startswith(".tmp-") for path in left)


def fill(directory: Path, name: str) -> None:
    (directory / name).touch()
    wait_until(lambda: len(list(directory.glob("ready-*"))) == 2)
    stream_from(documents_of(300), tokenizer_of("bpe"), directory / "cache", processes=2)


@pytest.mark.slow
def test_two_processes_that_need_a_stream_make_it_once(tmp_path: Path) -> None:
    with (
        child_running(fill, tmp_path, "ready-1") as one,
        child_running(fill, tmp_path, "ready-2") as other,
    ):
        ended = [one.ended(), other.ended()]
    assert [each.code for each in ended] == [0, 0], [each.stderr for each in ended]
    assert "".join(each.stderr for each in ended).count("tokenizing the train text") == 1
    assert [find_damage(path) for path in made(tmp_path / "cache")] == [None]
