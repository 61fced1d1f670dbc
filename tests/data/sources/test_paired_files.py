"""Paired text files: aligned, of one length, compressed or not."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import DataConfig
from model_foundry.data.corpus.record_splits import open_record_splits
from model_foundry.data.sources.base import Reading
from model_foundry.data.sources.opening import open_source
from model_foundry.data.sources.records import MOST_ROWS, Records
from model_foundry.errors import DataError

READING = Reading("file", "text", "strict")


def opened(**pair: Any) -> Any:
    return open_source(DataConfig(train={"pairs": pair}).train, READING)


def written(tmp_path: Path, source: str, target: str) -> dict[str, str]:
    (tmp_path / "a.en").write_text(source)
    (tmp_path / "a.fr").write_text(target)
    return {"source": str(tmp_path / "a.en"), "target": str(tmp_path / "a.fr")}


def rows(batches: Any) -> list[tuple[Any, ...]]:
    return [row for each in batches for row in zip(*each.columns.values(), strict=True)]


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_line_of_each_file_is_a_record(end: str, tmp_path: Path) -> None:
    source = opened(**written(tmp_path, f"a dog\na cat{end}", f"un chien\nun chat{end}"))
    assert rows(source.records(["source", "target"])) == [
        ("a dog", "un chien"),
        ("a cat", "un chat"),
    ]
    [only] = source.records(["target"])
    assert only.columns == {"target": ["un chien", "un chat"]}
    assert only.where(1).endswith("a.fr: line 2")


def test_many_lines_come_in_batches_with_their_numbers(tmp_path: Path) -> None:
    number = 2 * MOST_ROWS + 5
    lines = [f"{n}\n" for n in range(number)]
    source = opened(**written(tmp_path, "".join(lines), "".join(reversed(lines))))
    batches: list[Records] = list(source.records(["source", "target"]))
    assert [len(each) for each in batches] == [MOST_ROWS, MOST_ROWS, 5]
    assert rows(batches) == [(f"{n}", f"{number - 1 - n}") for n in range(number)]
    assert batches[-1].where(4).endswith(f"line {number}")


def test_compressed_files_are_unpacked(tmp_path: Path) -> None:
    pair = written(tmp_path, "a\r\nb\r\n", "")
    packed = tmp_path / "a.fr.gz"
    packed.write_bytes(gzip.compress("é\nè\n".encode()))
    source = opened(source=pair["source"], target=str(packed))
    assert rows(source.records(["source", "target"])) == [("a", "é"), ("b", "è")]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("a\nb\nc\n", "x\ny\n", r"a\.en has 3 lines and .*a\.fr has 2 lines; line n of both"),
        ("a\n", "x\ny\n", r"a\.en has 1 lines and .*a\.fr has 2 lines"),
        ("", "x\n", r"a\.en has 0 lines and .*a\.fr has 1 lines"),
        ("a\n" * (MOST_ROWS + 9), "x\n" * (MOST_ROWS + 3), r"en has 521 lines .*fr has 515 lines"),
        ("a\n" * 3 * MOST_ROWS, "x\n" * MOST_ROWS, r"en has 1,536 lines .*fr has 512 lines"),
    ],
)
def test_files_of_unequal_length_are_refused(
    source: str, target: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        list(opened(**written(tmp_path, source, target)).records(["source", "target"]))


def test_another_column_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    pair = written(tmp_path, "a\n", "x\n")
    with pytest.raises(DataError, match=r"no column .*'text'"):
        list(opened(**pair).records(["text"]))
    with pytest.raises(DataError, match=r"none\.en: cannot be read \(No such file"):
        opened(source=str(tmp_path / "none.en"), target=pair["target"])
    with pytest.raises(DataError, match="holds records without text"):
        list(opened(**pair).batches())


def test_pairs_are_held_out_together(tmp_path: Path) -> None:
    lines = [f"{n}\n" for n in range(40)]
    pair = written(tmp_path, "".join(lines), "".join(f"to {line}" for line in lines))
    splits = open_record_splits(DataConfig(train={"pairs": pair}), seed=0)
    found = [rows(each.records(["source", "target"])) for each in (splits.train, splits.validation)]
    assert sorted(map(len, found)) == [2, 38]
    assert all(target == f"to {source}" for part in found for source, target in part)


def test_the_key_is_the_content(tmp_path: Path) -> None:
    def key(pair: dict[str, str]) -> Any:
        return opened(**pair).cache_key(lambda path: path.read_text())

    pair = written(tmp_path, "a\n", "x\n")
    first = key(pair)
    assert first == key(pair)
    assert first != key({"source": pair["target"], "target": pair["source"]})
