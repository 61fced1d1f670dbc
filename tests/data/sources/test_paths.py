"""Files of a pattern and their order, and what is refused before it is opened."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from model_foundry.data.sources.paths import Kind, kind_of, require_regular, resolve_files
from model_foundry.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Text files at two depths, with files that are no corpus."""
    for below in ("below", ".git"):
        (tmp_path / below).mkdir()
    for name in ("b.txt", "a.txt", "below/c.jsonl.GZ", "notes.md", ".d.txt", ".git/e.txt"):
        (tmp_path / name).write_text(f"text of {name}")
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def refusal(pattern: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        resolve_files(str(pattern))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_are_found_by_path_glob_and_folder_in_a_fixed_order(folder: Path) -> None:
    assert names(resolve_files(str(folder / "notes.md"))) == ["notes.md"]
    assert names(resolve_files(str(folder / "*.txt"))) == ["a.txt", "b.txt"]
    assert names(resolve_files(str(folder / "**/*"))) == [
        "a.txt",
        "b.txt",
        "c.jsonl.GZ",
        "notes.md",
    ]
    assert names(resolve_files(str(folder))) == ["a.txt", "b.txt", "c.jsonl.GZ"]


def test_a_list_keeps_its_order_and_reads_no_file_twice(folder: Path) -> None:
    (folder / "same.txt").symlink_to(folder / "b.txt")
    patterns = [str(folder / name) for name in ("b.txt", "", "below/../b.txt")]
    assert names(resolve_files(patterns)) == ["b.txt", "a.txt", "c.jsonl.GZ"]


def test_a_file_with_a_glob_in_its_name_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("x")
    assert names(resolve_files(str(tmp_path / "a[1].txt"))) == ["a[1].txt"]


def test_the_home_directory_is_written_as_a_tilde(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert names(resolve_files("~/a.txt")) == ["a.txt"]


def test_links_are_followed_but_not_in_cycles(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "far.txt").write_text("far")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "below" / "up").symlink_to(folder)
    (elsewhere / "back").symlink_to(folder)
    found = ["a.txt", "b.txt", "c.jsonl.GZ", "far.txt"]
    assert names(resolve_files(str(folder))) == found
    assert sorted(names(resolve_files(str(folder / "**/[abcf]*.*")))) == found


@pytest.mark.parametrize("source", ["missing.txt", "no/*.txt", "a\0b", "~nobody-here/a", "x" * 300])
def test_a_pattern_without_files_is_refused(source: str) -> None:
    error = refusal(source)
    assert "no such file, folder or match; check the path" in error or "is no path (" in error


def test_pipes_devices_and_broken_links_are_never_opened(tmp_path: Path) -> None:
    assert "the folder has no file of .txt .jsonl" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")  # to open it would wait for a writer for ever
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    assert "loop.csv: is a broken link" in refusal(tmp_path)
    (tmp_path / "loop.csv").unlink()
    for pattern in (tmp_path, tmp_path / "*", tmp_path / "pipe.txt"):
        assert "pipe.txt: is not a regular file" in refusal(pattern)
    assert "is not a regular file" in refusal("/dev/zero")
    with pytest.raises(DataError, match=r"gone\.txt: cannot be read \(No such file or directory\)"):
        require_regular(tmp_path / "gone.txt")


def test_a_folder_that_may_not_be_read_is_not_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse_below(place: str) -> Any:
        if os.path.basename(place) == "below":
            raise PermissionError(errno.EACCES, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse_below)  # the superuser could read it all the same
    for pattern in (folder, folder / "**/*.txt"):
        assert "below: cannot be read (Permission denied)" in refusal(pattern)


@pytest.mark.parametrize(
    "files", [["dataset_dict.json"], ["dataset_info.json", "state.json", "data-00000.arrow"]]
)
def test_a_saved_data_set_is_left_to_its_own_reader(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    assert f"name it as {{disk: {tmp_path}, split: train}}" in refusal(tmp_path)


def test_names_that_no_terminal_can_show_are_escaped(tmp_path: Path) -> None:
    os.mkfifo(os.fsencode(tmp_path) + b"/new\nline\xff\x1b.txt")
    assert r"new\nline\udcff\x1b.txt: is not a regular file" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", Kind("text", None)),
        ("a.TXT.Gz", Kind("text", ".gz")),
        ("README", Kind("text", None)),
        ("a.md.xz", Kind("text", ".xz")),
        ("a.gz", Kind("text", ".gz")),
        ("b.ndjson", Kind("json lines", None)),
        ("b.jsonl.zst", Kind("json lines", ".zst")),
        ("b.json.bz2", Kind("json", ".bz2")),
        ("c.tsv", Kind("tsv", None)),
        ("c.csv.gz", Kind("csv", ".gz")),
        ("d.Parquet", Kind("parquet", None)),
        ("d.arrow", Kind("arrow", None)),
    ],
)
def test_the_suffix_gives_the_kind_of_a_file(name: str, kind: Kind) -> None:
    assert kind_of(Path(name)) == kind


def test_columnar_files_must_not_be_compressed() -> None:
    with pytest.raises(DataError, match=r"d\.parquet\.gz: parquet cannot be read from a \.gz"):
        kind_of(Path("d.parquet.gz"))
