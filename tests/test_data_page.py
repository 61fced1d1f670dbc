"""The lines, commands, output and errors of docs/data.md."""

import gzip
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_foundry.architectures import load_plugin
from model_foundry.cli import main
from model_foundry.config import INTERVENTIONS, SOURCES, DataConfig, load_config
from model_foundry.data.batches.order import usable_blocks
from model_foundry.data.corpus.record_splits import open_record_splits
from model_foundry.errors import DataError
from model_foundry.interventions import intervention
from model_foundry.interventions.description import describe
from model_foundry.objectives.preparation import prepare
from tests.data.streams import row_of
from tests.data_page import DOCUMENTS, EXPERIMENT, LINES, STEPS, blocks, rows, write_corpora

WITHOUT_THE_SAME_TEXT = ("language", "mixture", "name: short")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data-page")
    write_corpora(place)
    (place / "c.txt.gz").write_bytes(gzip.compress((place / "books" / "c.txt").read_bytes()))
    return place


@pytest.fixture
def here(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(corpora)
    return corpora


def experiment(*changes: tuple[str, str]) -> str:
    """Return the experiment of the page with some of its text replaced."""
    text = EXPERIMENT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def foundry(monkeypatch: pytest.MonkeyPatch, command: str) -> int:
    """Run a command line in this process; return its exit code."""
    words = shlex.split(command)
    assert words[0] == "foundry"
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


# --- sources --------------------------------------------------------------------------------------


def test_there_is_a_line_for_each_kind_of_source() -> None:
    wanted = "txt books/ *.txt [ .gz .zst .bz2 .xz jsonl .json csv tsv conllu parquet arrow disk "
    wanted += "hub name: revision: streaming: language weight: words: documents: repeats:"
    assert [kind for kind in wanted.split() if not any(kind in line for line in LINES)] == []


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_page_is_read(line: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("line.yaml").write_text(experiment(("train: corpus.txt\n", line + "\n")))
    for command in ("validate", "prepare"):
        assert foundry(monkeypatch, f"foundry {command} line.yaml") == 0
    found = prepare(load_config("line.yaml"))
    if any(part in line for part in WITHOUT_THE_SAME_TEXT):
        assert found.train.stream.documents > 0
        return
    Path("same.yaml").write_text(EXPERIMENT)
    same = prepare(load_config("same.yaml"))
    assert found.content == same.content
    assert found.train.stream.facts.tokens_sha256 == same.train.stream.facts.tokens_sha256
    assert found.train.stream.documents + found.validation.stream.documents == len(DOCUMENTS)


# --- commands, steps, packing ---------------------------------------------------------------------


def test_the_commands_of_the_page_run(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my-corpus.yaml").write_text(EXPERIMENT)
    for name, program in zip(("fasta", "tagged", "every_nth"), blocks("python"), strict=True):
        Path(f"{name}.py").write_text(program)
    Path("genes.fasta").write_text("".join(f">{n}\n{text}\n" for n, text in enumerate(DOCUMENTS)))
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) == 5
    [missing] = [c.replace("genes", "gones") for c in commands if "genes" in c]
    try:
        assert [foundry(monkeypatch, command) for command in commands] == [0] * len(commands)
        capsys.readouterr()
        assert foundry(monkeypatch, missing) == 3
        assert "gones.fasta: cannot be read (No such file or directory)" in capsys.readouterr().err
    finally:
        INTERVENTIONS.remove("every_nth")
        SOURCES.remove("fasta")


def test_the_source_of_the_page_without_text_names_its_lines(here: Path) -> None:
    [program] = [block for block in blocks("python") if "TaggedSource" in block]
    Path("tagged.py").write_text(program)
    Path("tagged.txt").write_text("a\tX\nb\tY\n\n\nc\tX\n")
    load_plugin("tagged.py")
    try:
        data = DataConfig(train={"tagged": {"file": "tagged.txt"}}, validation_fraction=0.5)
        splits = open_record_splits(data, seed=0)
        found = {
            records.where(0): (records.text_lists("words"), records.text_lists("tags"))
            for split in (splits.train, splits.validation)
            for records in split.records(["words", "tags"])
        }
        assert found == {
            "tagged.txt: line 1": ([["a", "b"]], [["X", "Y"]]),
            "tagged.txt: line 5": ([["c"]], [["X"]]),
        }
        with pytest.raises(DataError, match=r"^tagged.txt: holds records without text; name a"):
            next(SOURCES.load("tagged")(data.train.settings, None).batches())
    finally:
        SOURCES.remove("tagged")


def test_the_output_shown_is_the_output(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("my-corpus.yaml").write_text(EXPERIMENT)
    [session] = blocks("console")
    command, *expected = session.splitlines()
    assert foundry(monkeypatch, command.removeprefix("$ ")) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in expected if line not in printed] == []


def test_the_table_of_steps_is_that_of_the_registry() -> None:
    def row(name: str) -> list[str]:
        settings = " ".join(f"`{key}`" for key in intervention(name).schema.model_fields)
        return [f"`{name}`", settings, describe(name).splitlines()[0]]

    built_in = [spec.name for spec in INTERVENTIONS.values()]
    assert list(rows("step")) == [row(name) for name in sorted(built_in)]


def test_the_steps_of_the_page_are_valid(here: Path) -> None:
    indented = "".join(f"  {line}\n" for line in STEPS.splitlines())
    Path("steps.yaml").write_text(experiment(("tokenizer:", f"{indented}tokenizer:")))
    config = load_config("steps.yaml")
    assert [step.step for step in config.data.interventions][1:] == [
        "filter_length",
        "drop_sentences",
    ]


def picture() -> dict[str, list[str]]:
    """Return the rows that the picture of the packing modes shows, under their labels."""
    found: dict[str, list[str]] = {}
    [text] = [block for block in blocks("text") if "streams" in block]
    for line in filter(str.strip, text.splitlines()):
        label, cells = line[:21].strip(), line[21:].partition(" the ")[0]
        found.setdefault(label or list(found)[-1], []).extend(cells.split())
    return found


@pytest.mark.parametrize("packing", ["blocks", "documents", "streams"])
def test_the_picture_shows_the_rows_that_are_made(
    packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    drawn = picture()
    Path("letters.txt").write_text("\n".join(text.strip("()") for text in drawn["documents"]))
    Path("other.txt").write_text("abcdefgh")
    text = experiment(
        ("train: corpus.txt", "train: letters.txt\n  validation: other.txt"),
        ("paragraph ", "line "),
        ("max_sequence_length: 64 ", f"packing: {packing}\n  max_sequence_length: 8 "),
        ("bpe", "character"),
    )
    Path("letters.yaml").write_text(text)
    prepared = prepare(load_config("letters.yaml"))
    tokenizer, rows = prepared.tokenizer, prepared.train
    marks = {tokenizer.bos_token_id: "(", tokenizer.eos_token_id: ")"}
    shown = [
        "".join(
            marks.get(token) or tokenizer.decode(token)
            for token in row_of(rows, (0, number))["input_ids"]
        )
        for number in range(len(rows))
    ]
    if packing == "streams":
        shown = shown[: usable_blocks(len(shown), rows_per_step=2)]
    assert shown == drawn[f"packing: {packing}"]


# --- what is refused ------------------------------------------------------------------------------

Corpus = Callable[[Path], Any]


def text(raw: bytes, name: str = "corpus.txt") -> Corpus:
    return lambda place: (place / name).write_bytes(raw)


def first_half(name: str) -> Corpus:
    def cut(place: Path) -> None:
        write_corpora(place)
        raw = (place / name).read_bytes()
        (place / name).write_bytes(raw[: len(raw) // 2])

    return cut


def of_numbers(place: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2]}), place / "rows.parquet")


REFUSED: dict[str, tuple[str, Corpus]] = {
    "is not UTF-8": ("corpus.txt", text("a caf\xe9".encode("latin1"))),
    "is UTF-16": ("corpus.txt", text("a text".encode("utf-16"))),
    "is packed, without the suffix": ("corpus.txt", text(gzip.compress(b"a text"))),
    "has a zero byte": ("corpus.txt", text(b"a tex\0t")),
    "is cut off, and packed": ("corpus.txt.gz", first_half("corpus.txt.gz")),
    "unpacks to more than 200 times its size": (
        "corpus.txt.gz",
        text(gzip.compress(b"a" * (2**26 + 2**21), 1), "corpus.txt.gz"),
    ),
    "has a row that is no JSON": (
        "rows.jsonl",
        text(b'{"text": "a"}\n{"text": a}\n', "rows.jsonl"),
    ),
    "has a key twice in a row": ("rows.jsonl", text(b'{"text": "a", "text": "b"}', "rows.jsonl")),
    "has a row without text": ("rows.jsonl", text(b'{"title": "a"}', "rows.jsonl")),
    "has a text that is null": ("rows.jsonl", text(b'{"text": null}', "rows.jsonl")),
    "has rows of different lengths": ("rows.csv", text(b"n,text\n1,a\n2,b,c\n", "rows.csv")),
    "has a quote that does not end": ("rows.csv", text(b'n,text\n1,"a\n', "rows.csv")),
    "has a column that is not text": ("rows.parquet", of_numbers),
    "has a line that is no CoNLL-U": ("a.conllu", text(b"# text = a\na\n", "a.conllu")),
    "is half a Parquet file": ("rows.parquet", first_half("rows.parquet")),
    "matches no file": ("books/*.txt", lambda place: None),
    "is a folder without known files": ("books", lambda place: (place / "books").mkdir()),
    "was written by `save_to_disk`": ("saved", write_corpora),
    "is a pipe or a device": ("corpus.txt", lambda place: os.mkfifo(place / "corpus.txt")),
    "is a single document": ("corpus.txt", text(b"only one paragraph")),
    "has no text": ("corpus.txt", text(b" \n\n \n")),
    "is shorter than a row": ("corpus.txt", text(b"a\n\nb")),
}


def test_every_refusal_of_the_page_is_tried() -> None:
    assert [cells[0] for cells in rows("a corpus that")] == list(REFUSED)


@pytest.mark.parametrize(("corpus", "message"), [cells[:2] for cells in rows("a corpus that")])
def test_a_corpus_is_refused_with_the_message_of_the_page(
    corpus: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, write = REFUSED[corpus]
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("wrong.yaml").write_text(experiment(("train: corpus.txt", f"train: {named}")))
    with pytest.raises(DataError) as caught:
        prepare(load_config("wrong.yaml"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
