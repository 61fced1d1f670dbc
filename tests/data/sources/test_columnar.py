"""Parquet and Arrow: the text column in batches, for all types of text."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_foundry.data.sources import columnar, compression
from tests.data.sources.reading import read, refusal, source_of

TEXTS = [f"text {number} ö\r\n" for number in range(1000)]
READ = [text.replace("\r\n", "\n") for text in TEXTS]


def write_parquet(path: Path, table: pa.Table, **settings: Any) -> Path:
    pq.write_table(table, path, **settings)
    return path


def write_stream(path: Path, table: pa.Table, *, compression: str | None = None) -> Path:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_stream(file, table.schema, options=options) as writer,
    ):
        writer.write_table(table, max_chunksize=300)
    return path


def write_arrow_file(path: Path, table: pa.Table) -> Path:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=300)
    return path


Writer = Callable[[Path, pa.Table], Path]
WRITERS: dict[str, tuple[Writer, str]] = {
    "parquet": (write_parquet, "a.parquet"),
    "stream": (write_stream, "a.arrow"),
    "file": (write_arrow_file, "a.arrow"),
}
each_writer = pytest.mark.parametrize(("write", "name"), WRITERS.values(), ids=WRITERS)


def table_of(texts: list[Any], kind: pa.DataType | None = None) -> pa.Table:
    numbers = pa.array(range(len(texts)), pa.int64())
    return pa.table({"n": numbers, "text": pa.array(texts, kind), "nested": [[1]] * len(texts)})


@each_writer
@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int32(), pa.string()),
    ],
    ids=str,
)
def test_each_row_is_a_document(
    tmp_path: Path, write: Writer, name: str, kind: pa.DataType
) -> None:
    texts = pa.array(TEXTS)
    column = texts.dictionary_encode() if pa.types.is_dictionary(kind) else texts.cast(kind)
    assert read(write(tmp_path / name, pa.table({"n": range(1000), "text": column}))) == READ


def test_rows_do_not_depend_on_storage_settings(tmp_path: Path) -> None:
    table = table_of(TEXTS)
    for settings in (
        {"row_group_size": 7},
        {"data_page_size": 64, "compression": "zstd"},
        {"use_dictionary": False, "compression": "none", "data_page_version": "2.0"},
    ):
        assert read(write_parquet(tmp_path / "a.parquet", table, **settings)) == READ
    for packed in ("zstd", "lz4"):
        assert read(write_stream(tmp_path / "a.arrow", table, compression=packed)) == READ


@each_writer
def test_a_table_may_have_no_rows(tmp_path: Path, write: Writer, name: str) -> None:
    for kind in (pa.string(), pa.null()):
        assert read(write(tmp_path / name, table_of([], kind))) == []


@each_writer
@pytest.mark.parametrize(
    ("column", "settings", "message"),
    [
        (
            ["a"],
            {"text_column": "txt"},
            "no column data.text_column='txt', but n, text, nested; did",
        ),
        (["a"], {"text_column": "n"}, "the column 'n' is of int64, not text; set text_column"),
        (["a"], {"text_column": "nested"}, "the column 'nested' is of list<"),
        ([b"a"], {}, "the column 'text' is of binary, not text"),
        ([{"a": "b"}], {}, "the column 'text' is of struct<a: string>, not text"),
        ([*TEXTS, None], {}, "row 1001: 'text' is null; remove such rows or correct them"),
        ([None, None], {}, "row 1: 'text' is null"),
        ([*TEXTS, "a\0b"], {}, "row 1001: 'text' has a zero character at 1; remove it"),
    ],
)
def test_a_column_without_text_is_reported(
    tmp_path: Path, write: Writer, name: str, column: Any, settings: dict[str, str], message: str
) -> None:
    error = refusal(write(tmp_path / name, table_of(column)), **settings)
    assert error.startswith(f"{name}: ") and message in error


@each_writer
def test_two_columns_of_one_name_are_refused(tmp_path: Path, write: Writer, name: str) -> None:
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    assert "has 2 columns 'text'; rename all but one" in refusal(write(tmp_path / name, twice))


@each_writer
def test_invalid_utf8_is_reported_or_replaced(tmp_path: Path, write: Writer, name: str) -> None:
    raw = pa.array([b"ok", b"caf\xe9", b"\xef\xbf\xbd"])
    path = write(tmp_path / name, pa.table({"text": raw.view(pa.string())}))
    assert "row 2: not UTF-8 at byte 3 (0xe9) of the text; correct it, or set" in refusal(path)
    assert read(path, encoding_errors="replace") == ["ok", "caf\ufffd", "\ufffd"]


@each_writer
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, write: Writer, name: str) -> None:
    path = write(tmp_path / name, table_of(TEXTS))
    raw = path.read_bytes()
    for size in (0, 4, len(raw) // 2, len(raw) - 8, len(raw) - 4, len(raw) - 1):
        path.write_bytes(raw[:size])
        assert refusal(path).endswith("; copy or download it again"), size
    path.write_bytes(b"just text, and a good deal of it")
    assert f"{name}: not a complete {path.suffix[1:]} file (" in refusal(path)


@each_writer
def test_a_damaged_file_is_refused_or_read_but_never_crashes(
    tmp_path: Path, write: Writer, name: str
) -> None:
    path = write(tmp_path / name, table_of(TEXTS[:300]))
    raw, draw = path.read_bytes(), random.Random(0)
    for _ in range(100):
        damaged = bytearray(raw)
        for _ in range(3):
            damaged[draw.randrange(len(raw))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            read(path, encoding_errors="replace")
        except columnar.DataError as error:
            assert "\n" not in str(error)


def test_a_dictionary_that_expands_too_far_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "HARMLESS", 2**22)
    path = write_parquet(tmp_path / "a.parquet", table_of(["x" * 10_000] * 1000))
    assert "unpacks to more than 200 times its size, unlike any text; write its" in refusal(path)


@each_writer
def test_columns_are_read_by_name(tmp_path: Path, write: Writer, name: str) -> None:
    raw = pa.array([b"ok", b"caf\xe9"]).view(pa.string())
    table = pa.table({"a": ["x", "y"], "truth": [True, False], "b": raw, "list": [[1], None]})
    source = source_of(write(tmp_path / name, table), encoding_errors="replace")
    (records,) = source.records(["list", "b", "truth"])
    assert records.columns["b"] == ["ok", "caf\ufffd"]
    assert records.columns["list"] == [[1], None]
    assert records.labels("truth") == ["true", "false"]
    assert source.replaced == 1
    assert next(iter(source.records([]))).where(1).endswith(": row 2")
