"""Data sets of the Hub, of a directory like one, and saved to disk."""

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_foundry.config import DiskSource, HubSource
from model_foundry.data.sources.base import Reading, Source
from model_foundry.data.sources.datasets_rows import ROWS
from model_foundry.data.sources.opening import open_source
from model_foundry.errors import DataError
from model_foundry.foundation.atomic_files import file_sha256
from model_foundry.foundation.file_hashes import FileHashes
from tests.data.corpora import joined

RAW = [
    {"text": "one\r\ntwo", "body": "B"},
    {"text": " ", "body": "C"},
    {"text": "three", "body": None},
]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def hub(directory: Path, content: bytes, suffix: str = "jsonl", **settings: Any) -> HubSource:
    """Lay out a local data set with one split."""
    directory.mkdir(exist_ok=True)
    (directory / f"train.{suffix}").write_bytes(content)
    return HubSource(hub=str(directory), **settings)


def disk(directory: Path, rows: list[dict[str, Any]], **settings: Any) -> DiskSource:
    """Save a data set with two splits."""
    found = datasets.Dataset.from_list(rows)
    datasets.DatasetDict({"train": found, "dev": found.select([0])}).save_to_disk(directory)
    return DiskSource(disk=str(directory), **settings)


def opened(source: HubSource | DiskSource, column: str = "text") -> Source:
    return open_source(source, Reading("file", column, "strict"))


def read(source: HubSource | DiskSource, column: str = "text") -> list[str]:
    return joined(opened(source, column).batches())


def refusal(source: HubSource | DiskSource, column: str = "text") -> str:
    """Return the one-line error of a data set that cannot be read."""
    with pytest.raises(DataError) as caught:
        read(source, column)
    error = str(caught.value)
    assert "\n" not in error
    return error


@pytest.mark.parametrize("streaming", [False, True])
def test_each_row_of_a_data_set_is_a_document(streaming: bool, tmp_path: Path) -> None:
    expected = ["one\ntwo", " ", "three"]  # blank documents are left out later
    assert read(hub(tmp_path / "hub", lines(RAW), streaming=streaming)) == expected
    table = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(RAW), table)
    columns = hub(tmp_path / "columns", bytes(table.getvalue()), "parquet", streaming=streaming)
    assert read(columns) == expected
    assert read(disk(tmp_path / "disk", RAW)) == expected
    assert read(disk(tmp_path / "more", RAW, split="dev")) == expected[:1]


def test_a_source_is_the_same_each_time_and_longer_than_a_batch(tmp_path: Path) -> None:
    rows = [{"text": f"row {number}"} for number in range(2 * ROWS + 3)]
    source = opened(hub(tmp_path / "hub", lines(rows)))
    for _ in range(2):
        texts = joined(source.batches())
        assert texts == [row["text"] for row in rows]


def test_files_that_change_are_read_as_they_are_now(tmp_path: Path) -> None:
    source = hub(tmp_path / "hub", lines(RAW))
    before = opened(source).cache_key(file_sha256)
    assert read(source)[-1] == "three"
    hub(tmp_path / "hub", lines([{"text": "four"}]))
    assert read(source) == ["four"]
    assert opened(source).cache_key(file_sha256) != before


def test_a_split_and_a_configuration_are_found(tmp_path: Path) -> None:
    directory = tmp_path / "hub"
    for name in ("first", "second"):
        (directory / name).mkdir(parents=True)
        for split in ("train", "test"):
            path = directory / name / f"{split}.jsonl"
            path.write_bytes(lines([{"text": f"{split} of {name}"}]))
    (directory / "README.md").write_text(
        "---\nconfigs:\n"
        + "".join(
            f"- config_name: {name}\n  data_files:\n"
            f"  - split: train\n    path: {name}/train.jsonl\n"
            f"  - split: test\n    path: {name}/test.jsonl\n"
            for name in ("first", "second")
        )
        + "---\n"
    )
    for name in ("first", "second"):
        for split in ("train", "test"):
            source = HubSource(hub=str(directory), name=name, split=split)
            assert read(source) == [f"{split} of {name}"]
    keys = {
        repr(opened(HubSource(hub=str(directory), **which)).cache_key(file_sha256))
        for which in ({"name": "first"}, {"name": "second"}, {"name": "first", "split": "test"})
    }
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("rows", "column", "message"),
    [
        (RAW, "txt", "has no column data.text_column='txt', but text, body; did you mean 'text'?"),
        (RAW, "body", "row 3: 'body' is null; remove such rows or correct them"),
        ([{"text": 1}], "text", "row 1: 'text' is 1, not text"),
        ([{"text": ["a"]}], "text", "row 1: 'text' is ['a'], not text"),
        ([{"text": "a"}, {"text": "b\0"}], "text", "row 2: 'text' has a zero character at 1"),
    ],
)
def test_a_row_without_text_is_reported_with_its_number(
    rows: list[dict[str, Any]], column: str, message: str, tmp_path: Path
) -> None:
    error = refusal(hub(tmp_path / "hub", lines(rows)), column)
    assert error.startswith(f"{tmp_path / 'hub'}: ") and message in error
    assert refusal(disk(tmp_path / "disk", rows), column).endswith(error.partition(": ")[2])


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (b'{"text": "a"}\n{"text": \n', "jsonl"),
        (b"PAR1 and no more", "parquet"),
        (b"\x80\x00 no text", "jsonl"),
    ],
)
def test_a_damaged_file_is_reported_with_the_data_set(
    content: bytes, suffix: str, tmp_path: Path
) -> None:
    error = refusal(hub(tmp_path / "hub", content, suffix))
    assert error.startswith(f"{tmp_path / 'hub'}: cannot be read as a data set (")


def test_a_missing_data_set_is_reported(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    there = hub(tmp_path / "hub", lines(RAW))
    for source in (
        HubSource(hub=str(tmp_path / "empty")),
        HubSource(hub="no-such-owner/no-such-name"),
        there.model_copy(update={"split": "nine"}),
        there.model_copy(update={"name": "other"}),
    ):
        assert "cannot be read as a data set (" in refusal(source)


def test_a_directory_without_a_saved_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        source = DiskSource(disk=str(tmp_path / name))
        assert refusal(source).startswith(f"{tmp_path / name}: cannot be read as a data set")
    source = disk(tmp_path / "disk", RAW, split="nine")
    assert "has no split 'nine', but train, dev" in refusal(source)
    with pytest.raises(DataError, match="no such directory; name one that save_to_disk wrote"):
        opened(DiskSource(disk=str(tmp_path / "missing"))).cache_key(file_sha256)


def test_the_key_of_a_directory_is_its_content(tmp_path: Path) -> None:
    for source, place in (
        (hub(tmp_path / "hub", lines(RAW)), "hub"),
        (disk(tmp_path / "disk", RAW), "disk"),
    ):
        before = opened(source).cache_key(file_sha256)
        (tmp_path / place / ".hidden").write_text("of the system")
        shutil.copytree(tmp_path / place, tmp_path / "moved" / place)
        moved = source.model_copy(update={place: str(tmp_path / "moved" / place)})
        assert opened(moved).cache_key(file_sha256) == before
        assert opened(moved, "body").cache_key(file_sha256) != before
        (tmp_path / place / "more.jsonl").write_text("{}")
        assert opened(source).cache_key(file_sha256) != before


def test_a_file_that_cannot_be_hashed_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(hub(tmp_path / "hub", lines(RAW)))

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("model_foundry.foundation.file_hashes.file_sha256", refuse)
    with pytest.raises(DataError, match=r"train\.jsonl: cannot be read \(Permission denied\)"):
        source.cache_key(FileHashes(tmp_path).of_source)


def test_the_key_of_a_hub_data_set_is_its_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit = "0123456789" * 4

    class Api:
        def dataset_info(self, name: str, revision: str | None) -> Any:
            assert name == "owner/name"
            return type("Info", (), {"sha": {None: "newest", "v1": "of v1"}[revision]})

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    keys = [
        opened(HubSource(hub="owner/name", revision=revision)).cache_key(file_sha256)
        for revision in (None, "v1", commit)
    ]
    assert [key[-1] for key in keys] == ["newest", "of v1", commit]


def test_an_unknown_commit_must_be_pinned() -> None:
    with pytest.raises(
        DataError, match=r"owner/name: its newest commit .*pin `revision`"
    ) as caught:
        opened(HubSource(hub="owner/name")).cache_key(file_sha256)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["numpy", "torch", "pandas", "arrow", "python"])
@pytest.mark.parametrize("columns", [None, ["body"]])
def test_a_saved_data_set_is_read_in_every_format(
    kind: str, columns: list[str] | None, tmp_path: Path
) -> None:
    rows = [{"text": f"text {number}", "body": number} for number in range(3)]
    found = datasets.Dataset.from_list(rows)
    found.set_format(kind, columns=columns)
    found.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": found}).save_to_disk(tmp_path / "several")
    for name in ("one", "several"):
        assert read(DiskSource(disk=str(tmp_path / name))) == ["text 0", "text 1", "text 2"]


@pytest.mark.parametrize("kind", ["hub", "streamed", "disk"])
def test_columns_of_a_data_set_stay_aligned(kind: str, tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "more": None, "n": n} for n in range(2 * ROWS + 3)]
    if kind == "disk":
        source: HubSource | DiskSource = disk(tmp_path / "saved", rows)
    else:
        source = hub(tmp_path / "hub", lines(rows), streaming=kind == "streamed")
    found = list(opened(source).records(["n", "text"]))
    assert [list(records.columns) for records in found] == 3 * [["n", "text"]]
    for records in found:
        pairs = zip(records.numbers("n"), records.texts("text"), strict=True)
        assert all(text == f"row {number:.0f}" for number, text in pairs)
    assert found[-1].where(2).endswith(f": row {len(rows)}")
    with pytest.raises(DataError, match="has no column 'nn', but text, more, n; did you mean 'n'"):
        list(opened(source).records(["text", "nn"]))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_classes_have_their_names_in_lists_too(depth: int, tmp_path: Path) -> None:
    feature: Any = datasets.ClassLabel(names=["O", "B-PER", "I-PER"])
    rows: list[Any] = [2, 0, -1]
    named: list[Any] = ["I-PER", "O", None]
    for _ in range(depth):
        feature, rows, named = datasets.Sequence(feature), [rows, []], [named, []]
    features = datasets.Features({"ner_tags": feature})
    datasets.Dataset.from_dict({"ner_tags": rows}, features).save_to_disk(str(tmp_path / "bank"))
    source = DiskSource(disk=str(tmp_path / "bank"))
    [records] = opened(source).records(["ner_tags"])
    assert records.columns["ner_tags"] == named
