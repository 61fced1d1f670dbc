"""Data prepared from an experiment: rows by its settings, shared documents, warm starts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.token_examples import Blocks, PackedDocuments
from model_foundry.data.sources.synthetic_language import LanguageCorpus
from model_foundry.data.tokens import tokenize
from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.errors import DataError
from model_foundry.foundation.atomic_files import find_damage
from model_foundry.objectives import Prepared, text
from model_foundry.objectives.preparation import prepare
from model_foundry.tokenizer import tokenizer_factory
from tests.data.corpora import tokenizer_of
from tests.data.streams import row_of
from tests.experiments import tiny_experiment

TRAIN = [f"the {n} dogs see {n * 7} cats near the old house" for n in range(40)]
OTHER = [f"a {n} cow chases {n * 3} birds" for n in range(10)]


def experiment(
    directory: Path, *overrides: str, kind: str = "gpt2", other: list[str] | None = None
) -> ExperimentConfig:
    """Return an experiment on files with a document a line, and a cache of its own."""
    for name, lines in (("train", TRAIN), ("validation", other or OTHER), ("test", OTHER[:3])):
        (directory / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return tiny_experiment(
        kind,
        directory,
        f"data.train={directory / 'train.txt'}",
        f"data.validation={directory / 'validation.txt'}",
        f"data.test={directory / 'test.txt'}",
        "data.document=line",
        f"data.cache_dir={directory / 'cache'}",
        "data.preprocessing_num_workers=0",
        *overrides,
    )


def tokens(stream: TokenStream) -> list[int]:
    return np.asarray(stream.tokens).tolist()


def test_all_texts_are_prepared_and_counted_in_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    prepared = prepare(experiment(tmp_path))
    assert prepared.test is not None
    streams = [prepared.train.stream, prepared.validation.stream, prepared.test.stream]
    assert [stream.documents for stream in streams] == [40, 10, 3]
    for stream, lines in zip(streams, (TRAIN, OTHER, OTHER[:3]), strict=True):
        assert stream.bytes == sum(map(len, lines))
        assert stream.words == sum(len(line.split()) for line in lines)
    assert streams[1].facts.lossless
    assert prepared.train.dropped == len(streams[0]) % 16  # the rest of the others counts
    assert prepared.validation.dropped == prepared.test.dropped == 0
    for name, rows in (("train", prepared.train), ("test", prepared.test)):
        assert f"{name}: {rows.describe()}" in caplog.text


@pytest.mark.parametrize(("kind", "frame"), [("gpt2", 0), ("bert", 2)])
def test_rows_are_cut_as_the_settings_say(kind: str, frame: int, tmp_path: Path) -> None:
    blocks = prepare(experiment(tmp_path, kind=kind)).train
    assert isinstance(blocks, Blocks) and blocks.content == 16 - frame
    assert len(row_of(blocks, (0, 0))["input_ids"]) == 16
    given = prepare(experiment(tmp_path, "data.content_tokens=11", kind=kind)).train
    assert isinstance(given, Blocks) and given.content == 11
    documents = ("data.packing=documents", "data.document_overlap=3", "data.max_sequence_length=8")
    rows = prepare(experiment(tmp_path, *documents, kind=kind)).train
    assert isinstance(rows, PackedDocuments) and rows.length == 8 and rows.repeated > 0
    read = [row_of(rows, (0, number)) for number in range(len(rows))]
    assert max(len(row["input_ids"]) for row in read) <= 8
    assert sum(row["tokens"] for row in read) == len(rows.stream)
    assert sum(row["words"] for row in read) == rows.stream.words


def test_a_model_that_carries_its_state_gets_the_token_after_a_block(tmp_path: Path) -> None:
    streams = ("data.packing=streams", "training.carry_state=true")
    rows = prepare(experiment(tmp_path, *streams, kind="lstm")).train
    assert "following" in row_of(rows, (0, 0))
    rows = prepare(experiment(tmp_path, kind="lstm")).train
    assert "following" not in row_of(rows, (0, 0))


# --- documents on both sides ----------------------------------------------------------------------

SHARED = [TRAIN[3], *OTHER, TRAIN[5], TRAIN[3]]


def test_shared_documents_are_counted_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = prepare(experiment(tmp_path, other=SHARED))
    message = "3 of the 13 documents of the validation text are in the training text too"
    assert message in caplog.text and "test text" not in caplog.text
    assert prepared.validation.stream.documents == 13


def test_shared_documents_are_left_out_of_what_is_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = experiment(tmp_path, "data.shared_documents=drop", other=SHARED)
    prepared = prepare(config)
    alone = prepare(experiment(tmp_path, f"data.cache_dir={tmp_path / 'another'}"))
    assert tokens(prepared.validation.stream) == tokens(alone.validation.stream)
    assert tokens(prepared.train.stream) == tokens(alone.train.stream)
    assert prepared.validation.stream.facts.left_out == {"in the training text too": 3}
    assert "are in the training text" not in caplog.text


def test_shared_documents_are_refused(tmp_path: Path) -> None:
    config = experiment(tmp_path, "data.shared_documents=error", other=SHARED)
    message = r"data\.validation: 3 of the 13 documents .*set data\.shared_documents=drop"
    with pytest.raises(DataError, match=message):
        prepare(config)
    prepare(experiment(tmp_path, "data.shared_documents=error"))


def test_a_text_that_is_shared_as_a_whole_leaves_nothing_to_measure(tmp_path: Path) -> None:
    config = experiment(tmp_path, "data.shared_documents=drop", other=TRAIN[:4])
    with pytest.raises(DataError, match=r"data\.validation: no document is left"):
        prepare(config)


def test_sentences_of_a_language_that_repeat_are_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(tiny_experiment("gpt2", tmp_path, "data.train={language: {sentences: 2000}}"))
    assert "are in the training text" not in caplog.text


# --- tokenizers -----------------------------------------------------------------------------------


def trained(directory: Path) -> Path:
    tokenizer_of("bpe", TRAIN * 5).save_pretrained(directory / "tokenizer")
    return directory / "tokenizer"


def test_a_budget_in_tokens_is_counted_by_the_tokenizer_that_is_named(tmp_path: Path) -> None:
    config = experiment(tmp_path, f"tokenizer.path={trained(tmp_path)}")
    raw = config.model_dump()
    raw["tokenizer"] = {"path": str(trained(tmp_path))}
    raw["data"]["train"] = {
        "mixture": [{"source": str(tmp_path / "train.txt"), "tokens": 500, "repeats": 2}]
    }
    stream = prepare(ExperimentConfig.model_validate(raw)).train.stream
    longest = int(np.diff(stream.document_ends.astype(np.int64), prepend=0).max())
    assert 500 - longest < len(stream) // 2 <= 500 and len(stream) % 2 == 0
    assert stream.facts.left_out == {"beyond the budget": 40 - stream.documents // 2}


def test_the_tokenizer_of_a_resumed_run_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = trained(tmp_path)
    monkeypatch.setattr(text, "train_in_cache", None)
    prepared = prepare(experiment(tmp_path), kept=kept)
    assert prepared.processors["tokenizer"].source == kept


# --- a warm start ---------------------------------------------------------------------------------


def same(one: Prepared, other: Prepared) -> bool:
    pairs = ((one.train, other.train), (one.validation, other.validation))
    equal = (tokens(a.stream) == tokens(b.stream) for a, b in pairs)
    return all(equal) and one.content == other.content


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("done again")


@pytest.mark.parametrize("steps", ["[]", "[lowercase, drop_duplicates]"])
def test_a_warm_start_trains_reads_and_tokenises_nothing(
    steps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (f"data.interventions={steps}", "data.shared_documents=drop")
    first = prepare(experiment(tmp_path, *settings))
    monkeypatch.setattr(tokenize, "Encoder", refuse)
    monkeypatch.setattr(tokenizer_factory, "sample_of", refuse)
    monkeypatch.setattr("model_foundry.data.sources.files.FileSource.batches", refuse)
    assert same(prepare(experiment(tmp_path, *settings)), first)


def test_a_warm_start_on_the_language_samples_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_experiment("gpt2", tmp_path, f"data.cache_dir={tmp_path / 'cache'}")
    first = prepare(config)
    monkeypatch.setattr(LanguageCorpus, "batches", refuse)
    assert same(prepare(config), first)


def test_only_a_changed_text_is_prepared_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = prepare(experiment(tmp_path))
    caplog.set_level("INFO")
    second = prepare(experiment(tmp_path, other=OTHER[1:]))
    assert tokens(second.train.stream) == tokens(first.train.stream)
    assert second.validation.stream.documents == 9
    assert "training a bpe" not in caplog.text
    assert caplog.text.count("tokenizing the") == caplog.text.count("tokenizing the validation")


@pytest.mark.parametrize("changed", ["data.preprocessing_num_workers=2", "seed=9"])
def test_what_cannot_change_the_text_leaves_the_cache_in_force(
    changed: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = prepare(experiment(tmp_path))
    caplog.set_level("INFO")
    assert same(prepare(experiment(tmp_path, changed)), first)
    assert "tokenizing" not in caplog.text and "training a" not in caplog.text


def test_a_read_only_cache_that_is_warm_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(tmp_path)
    first = prepare(config)
    for name in ("mkdir", "write_text", "touch"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr("model_foundry.foundation.cache.exclusive", refuse)
    monkeypatch.setattr("model_foundry.foundation.file_hashes.FileHashes.keep", lambda _: None)
    assert same(prepare(config), first)


def test_everything_in_the_cache_is_whole(tmp_path: Path) -> None:
    prepare(experiment(tmp_path, "data.preprocessing_num_workers=2"))
    made = [
        path
        for place in ("tokens", "tokenizers")
        for path in (tmp_path / "cache" / place).glob("[!.]*")
    ]
    assert len(made) == 4 and [find_damage(path) for path in made] == [None] * 4


def test_blocks_that_fill_no_lane_are_left_over(tmp_path: Path) -> None:
    config = tiny_experiment("lstm", tmp_path, "data.packing=streams")  # four rows in a step
    whole = prepare(tiny_experiment("lstm", tmp_path)).train
    rows = prepare(config).train
    assert len(rows) == len(whole) and rows.unread == len(rows) % 4 > 0
    assert rows.left_over == whole.dropped + rows.unread * 16


def test_streams_need_a_block_for_each_row(tmp_path: Path) -> None:
    config = tiny_experiment(
        "lstm", tmp_path, "data.packing=streams", "training.per_device_train_batch_size=10000"
    )
    with pytest.raises(DataError, match=r"'streams' needs a block for each of the 10000 rows"):
        prepare(config)


def test_a_mixture_names_what_it_takes_of_each_source(tmp_path: Path) -> None:
    for name, lines in (("a", 30), ("b", 20)):
        text = "".join(f"line {number} of {name}\n" for number in range(lines))
        (tmp_path / f"{name}.txt").write_text(text)
    parts = [
        {"source": str(tmp_path / "a.txt"), "documents": 10, "repeats": 3},
        {"source": str(tmp_path / "b.txt")},
    ]
    config = tiny_experiment(
        "lstm", tmp_path, "data.document=line", f"data.train={{mixture: {parts}}}"
    )
    prepared = prepare(config)
    train, validation = (rows.stream for rows in (prepared.train, prepared.validation))
    (a, b), (c, d) = train.facts.sources, validation.facts.sources
    assert (a["documents"] // 3 + c["documents"], b["documents"] + d["documents"]) == (10, 20)
    assert a["documents"] + b["documents"] == train.documents
    assert [Path(source["name"]).name for source in train.facts.sources] == ["a.txt", "b.txt"]
