"""One corpus in every form: the same documents, the same text, the same tokens."""

import bz2
import csv
import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import PreTrainedTokenizerFast

from model_foundry.config import DataConfig
from model_foundry.data.corpus.splits import open_splits
from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.foundation import process_pool
from tests.data.corpora import stream_from, text_of, texts_of, tokenizer_of

pytestmark = pytest.mark.slow

# without newlines at an end or blank lines, so that a line is a paragraph is a file
LINES = [" ".join(text_of(4 + n % 5, n).split()) + f' "{n}", ok' for n in range(40)]
LONG = " ".join(text_of(4000, 99).split())  # more than one piece
CORPUS = [*LINES, LONG]
Writer = Callable[[Path], Any]


def text(directory: Path) -> Path:
    path = directory / "corpus.txt"
    path.write_bytes(("\n".join(CORPUS) + "\n").encode())
    return path


def json_lines(directory: Path) -> Path:
    path = directory / "corpus.jsonl"
    path.write_text("".join(json.dumps({"n": 1, "text": line}) + "\n" for line in CORPUS))
    return path


def json_array(directory: Path) -> Path:
    path = directory / "corpus.json"
    path.write_text(json.dumps([{"text": line} for line in CORPUS], ensure_ascii=False))
    return path


def table(directory: Path, suffix: str, delimiter: str) -> Path:
    path = directory / f"corpus.{suffix}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([["n", "text"], *([n, line] for n, line in enumerate(CORPUS))])
    return path


def columns() -> pa.Table:
    return pa.table({"n": list(range(len(CORPUS))), "text": CORPUS})


def parquet(directory: Path) -> Path:
    pq.write_table(columns(), directory / "corpus.parquet", row_group_size=7)
    return directory / "corpus.parquet"


def arrow(directory: Path) -> Path:
    path = directory / "corpus.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, columns().schema) as writer:
        writer.write_table(columns(), max_chunksize=9)
    return path


def zstd(raw: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    return bytes(sink.getvalue())


def packed(pack: Callable[[bytes], bytes], suffix: str, plain: Writer) -> Writer:
    def write(directory: Path) -> Path:
        path = plain(directory)
        target = path.with_name(path.name + suffix)
        target.write_bytes(pack(path.read_bytes()))
        path.unlink()
        return target

    return write


def folder(directory: Path) -> Path:
    half = len(CORPUS) // 2
    for name, lines in (("a.txt", CORPUS[:half]), ("b/c.txt", CORPUS[half:])):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("\n".join(lines))
    return directory


def file_for_each(directory: Path) -> Path:
    for number, line in enumerate(CORPUS):
        (directory / f"{number:03d}.txt").write_text(line)
    return directory / "*.txt"


def paragraphs(directory: Path) -> Path:
    path = directory / "corpus.txt"
    path.write_text("\n\n \n".join(CORPUS) + "\n\n")
    return path


def windows(directory: Path) -> Path:
    path = directory / "corpus.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(CORPUS).encode())
    return path


def saved(directory: Path, *, as_splits: bool) -> dict[str, str]:
    found: Any = datasets.Dataset(columns())
    if as_splits:
        other = datasets.Dataset.from_dict({"text": ["another"]})
        found = datasets.DatasetDict({"test": other, "train": found})
    found.save_to_disk(directory / "saved")
    return {"disk": str(directory / "saved")}


def hub(directory: Path, write: Writer, **settings: Any) -> dict[str, Any]:
    (directory / "data").mkdir()
    path = write(directory / "data")
    path.rename(path.with_name(f"train-00000-of-00001.{path.suffix[1:]}"))
    other = {".jsonl": b'{"n": 1, "text": "another"}\n'}.get(path.suffix)
    if other:
        path.with_name(f"test-00000-of-00001{path.suffix}").write_bytes(other)
    return {"hub": str(directory), **settings}


FORMS: dict[str, tuple[Writer, str]] = {
    "text": (text, "line"),
    "a list": (lambda d: [str(text(d))], "line"),
    "lines of another system": (windows, "line"),
    "paragraphs": (paragraphs, "paragraph"),
    "files": (file_for_each, "file"),
    "folder": (folder, "line"),
    "jsonl": (json_lines, "file"),
    "json": (json_array, "file"),
    "csv": (lambda d: table(d, "csv", ","), "file"),
    "tsv": (lambda d: table(d, "tsv", "\t"), "file"),
    "parquet": (parquet, "file"),
    "arrow": (arrow, "file"),
    "txt.gz": (packed(gzip.compress, ".gz", text), "line"),
    "txt.zst": (packed(zstd, ".zst", text), "line"),
    "txt.bz2": (packed(bz2.compress, ".bz2", text), "line"),
    "txt.xz": (packed(lzma.compress, ".xz", text), "line"),
    "jsonl.gz": (packed(gzip.compress, ".gz", json_lines), "file"),
    "csv.xz": (packed(lzma.compress, ".xz", lambda d: table(d, "csv", ",")), "file"),
    "Dataset": (lambda d: saved(d, as_splits=False), "file"),
    "DatasetDict": (lambda d: saved(d, as_splits=True), "file"),
    "hub of jsonl": (lambda d: hub(d, json_lines), "file"),
    "hub of parquet": (lambda d: hub(d, parquet), "file"),
    "hub, streamed": (lambda d: hub(d, json_lines, streaming=True), "file"),
    "hub, parquet streamed": (lambda d: hub(d, parquet, streaming=True), "file"),
    "mixture of one": (lambda d: {"mixture": [{"source": str(json_lines(d))}]}, "file"),
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tokenizer_of("bpe")


@pytest.fixture(scope="module")
def expected(
    tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> TokenStream:
    return stream_from(CORPUS, tokenizer, tmp_path_factory.mktemp("expected"))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(process_pool, "BATCH", 500)
    yield


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_corpus_gives_the_same_tokens(
    form: str,
    tokenizer: PreTrainedTokenizerFast,
    expected: TokenStream,
    small_batches: None,
    tmp_path: Path,
) -> None:
    write, document = FORMS[form]
    place = tmp_path / "corpus"
    place.mkdir()
    source = write(place)
    source = str(source) if isinstance(source, Path) else source
    raw = {"train": source, "validation": source, "document": document}
    split = open_splits(DataConfig.model_validate(raw), seed=0).train
    assert texts_of(split) == CORPUS
    found = stream_from(split, tokenizer, tmp_path / "cache", processes=2)
    assert found.facts == expected.facts
    assert found.facts.tokens_sha256 == expected.facts.tokens_sha256
    for name in ("tokens", "num_bytes", "num_words", "document_ends", "document_digests"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
