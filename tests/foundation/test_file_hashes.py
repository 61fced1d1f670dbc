"""Hashes that are remembered: never a wrong one, and none computed again without need."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_foundry.errors import DataError, SaveError
from model_foundry.foundation import file_hashes
from model_foundry.foundation.file_hashes import FileHashes, stat_of

OLD = 2 * file_hashes.TICK / 1e9  # seconds after which a file is as old as is needed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "corpus" / "a.txt"
    path.parent.mkdir()
    path.write_text("one")
    time.sleep(OLD)
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read, in order."""
    names: list[str] = []
    function: Callable[[Path], str] = file_hashes.file_sha256

    def counting(path: Path) -> str:
        names.append(path.name)
        return function(path)

    monkeypatch.setattr(file_hashes, "file_sha256", counting)
    return names


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_is_hashed_once_in_all_starts(file: Path, tmp_path: Path, hashed: list[str]) -> None:
    hashes = FileHashes(tmp_path)
    assert [hashes(file), hashes(file)] == [sha256("one")] * 2
    hashes.keep()
    assert FileHashes(tmp_path)(file) == sha256("one")
    assert hashed == ["a.txt"]


def test_what_is_not_kept_is_forgotten(file: Path, tmp_path: Path, hashed: list[str]) -> None:
    for _ in range(2):
        FileHashes(tmp_path)(file)
    assert len(hashed) == 2


def test_every_way_to_a_file_leads_to_one_memory(
    file: Path, tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = FileHashes(tmp_path)
    monkeypatch.chdir(file.parent)
    for path in (file, Path("a.txt"), file.parent / ".." / "corpus" / "a.txt"):
        assert hashes(path) == sha256("one")
    assert len(hashed) == 1


def test_an_edit_that_keeps_size_and_modification_time_is_found(file: Path, tmp_path: Path) -> None:
    hashes, before = FileHashes(tmp_path), file.stat()
    hashes(file)
    hashes.keep()
    with file.open("r+") as writer:
        writer.write("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stat_of(file)[:2] == [before.st_size, before.st_mtime_ns]
    assert stat_of(file)[3] == before.st_ino
    for each in (hashes, FileHashes(tmp_path)):
        assert each(file) == sha256("two")


def test_another_file_of_the_same_name_is_found(file: Path, tmp_path: Path) -> None:
    hashes = FileHashes(tmp_path)
    hashes(file)
    other = file.with_name("b.txt")
    other.write_text("two")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)
    assert hashes(file) == sha256("two")


def test_a_file_just_written_is_not_remembered(
    tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hashes, "TICK", 10**12)  # as if the clock stood still
    path, hashes = tmp_path / "a.txt", FileHashes(tmp_path)
    path.write_text("one")
    hashes(path)
    hashes(path)
    assert len(hashed) == 2


def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes, function = FileHashes(tmp_path), file_hashes.file_sha256

    def slow(path: Path) -> str:
        digest = function(path)
        path.write_text("two")
        return digest

    monkeypatch.setattr(file_hashes, "file_sha256", slow)
    assert hashes(file) == sha256("one")
    monkeypatch.undo()
    assert hashes(file) == sha256("two")


DAMAGE = [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'"x"']
OTHERS: list[dict[str, Any]] = [
    {"format": 99},
    {"files": ["a.txt"]},
    {"files": {"a.txt": "x"}},
    {"files": {"a.txt": [1, 2, 3, 4, "0" * 64]}},
    {"files": {"a.txt": None, "b": 1}},
    {"files": {}},
]


@pytest.mark.parametrize("content", [*DAMAGE, *OTHERS])
def test_a_damaged_memory_costs_time_only(
    content: bytes | dict[str, Any], file: Path, tmp_path: Path, hashed: list[str]
) -> None:
    hashes = FileHashes(tmp_path)
    hashes(file)
    hashes.keep()
    (place,) = (tmp_path / "hashes").glob("*.json")
    if isinstance(content, dict):
        content = json.dumps(json.loads(place.read_text()) | content).encode()
    place.write_bytes(content)
    again = FileHashes(tmp_path)
    assert again(file) == sha256("one") and len(hashed) == 2
    again.keep()
    assert FileHashes(tmp_path)(file) == sha256("one") and len(hashed) == 2  # it is mended


@pytest.mark.parametrize("error", [SaveError("no"), OSError("no")])
def test_a_cache_that_cannot_be_written_is_no_fault(
    error: Exception, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    hashes = FileHashes(tmp_path)
    hashes(file)
    monkeypatch.setattr(file_hashes, "write_text", refuse)
    hashes.keep()
    monkeypatch.undo()
    (tmp_path / "hashes").rmdir()
    (tmp_path / "hashes").write_text("no directory")
    hashes.keep()
    assert hashes(file) == sha256("one")


def test_a_file_that_cannot_be_read_is_a_fault_of_the_corpus(tmp_path: Path) -> None:
    hashes = FileHashes(tmp_path)
    for path in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(OSError):
            hashes(path)
        with pytest.raises(DataError, match=r"cannot be read \((No such file|Is a directory)"):
            hashes.of_source(path)


def test_a_new_memory_keeps_what_it_does_not_ask_for(file: Path, tmp_path: Path) -> None:
    other = file.with_name("b.txt")
    other.write_text("b")
    time.sleep(OLD)
    for path in (file, other):
        hashes = FileHashes(tmp_path)
        hashes(path)
        hashes.keep()
    (place,) = (tmp_path / "hashes").glob("*.json")
    assert set(json.loads(place.read_text())["files"]) == {"a.txt", "b.txt"}
