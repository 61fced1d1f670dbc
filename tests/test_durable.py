"""The commit protocol: a reader finds all of a directory, or nothing of it."""

import json
import os
import stat
from pathlib import Path

import pytest

from model_foundry.durable import (
    MANIFEST,
    commit_directory,
    file_sha256,
    is_committed,
    write_text,
)
from model_foundry.errors import SaveError


def commit(target: Path, **files: str) -> None:
    with commit_directory(target) as aside:
        for name, text in files.items():
            (aside / name).write_text(text)


def test_nothing_is_seen_until_all_is_there(tmp_path: Path) -> None:
    target = tmp_path / "below" / "done"
    with commit_directory(target) as aside:
        (aside / "file").write_text("text")
        assert not target.exists()
        assert aside.parent == target.parent
    assert (target / "file").read_text() == "text"
    assert is_committed(target)
    assert list(target.parent.iterdir()) == [target]


def test_the_manifest_names_every_file_with_its_size_and_hash(tmp_path: Path) -> None:
    with commit_directory(tmp_path / "done") as aside:
        (aside / "empty").touch()
        (aside / "below").mkdir()
        (aside / "below" / "abc").write_text("abc")
    # SHA-256 of "abc": FIPS 180-2, appendix B.1
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert json.loads((tmp_path / "done" / MANIFEST).read_text()) == {
        "format": 1,
        "files": [
            {"name": "below/abc", "bytes": 3, "sha256": abc},
            {"name": "empty", "bytes": 0, "sha256": empty},
        ],
    }
    assert file_sha256(tmp_path / "done" / "below" / "abc") == abc


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_a_failure_leaves_nothing_new_and_keeps_what_was_there(
    tmp_path: Path, error: type[BaseException]
) -> None:
    commit(tmp_path / "done", file="old")
    with pytest.raises(error), commit_directory(tmp_path / "done") as aside:
        (aside / "file").write_text("new")
        raise error
    assert (tmp_path / "done" / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["done"]


def test_a_later_commit_replaces_the_whole_directory(tmp_path: Path) -> None:
    commit(tmp_path / "done", first="1", second="2")
    commit(tmp_path / "done", second="3")
    assert sorted(os.listdir(tmp_path / "done")) == [MANIFEST, "second"]
    assert os.listdir(tmp_path) == ["done"]


def test_the_old_directory_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(tmp_path / "done", file="old")
    rename = Path.rename

    def fail_for_the_new_one(self: Path, target: Path) -> Path:
        if self.name.startswith(".tmp-"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(SaveError, match=r"No space left"):
        commit(tmp_path / "done", file="new")
    assert (tmp_path / "done" / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["done"]


def test_an_error_of_the_disk_names_the_target(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match=r"file/done: cannot be written"):
        commit(tmp_path / "file" / "done", a="b")
    with pytest.raises(SaveError, match=r"done: cannot be written .*No space left"):  # noqa: SIM117
        with commit_directory(tmp_path / "done"):
            raise OSError(28, "No space left on device")


def test_files_get_the_permissions_that_the_user_asked_for(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with commit_directory(tmp_path / "done") as aside:
            (aside / "secret").touch(mode=0o600)
    finally:
        os.umask(mask)
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "done", tmp_path / "done/secret")]
    assert modes == [0o750, 0o640]


def test_text_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "status.json"
    write_text(path, "ö\n")
    assert path.read_bytes() == "ö\n".encode()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SaveError, match=r"status\.json: cannot be written \(No space left"):
        write_text(path, "new")
    assert path.read_bytes() == "ö\n".encode()
    assert os.listdir(tmp_path) == ["status.json"]
