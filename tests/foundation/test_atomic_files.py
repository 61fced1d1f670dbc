"""The commit protocol: a reader finds all of a directory, or nothing of it."""

import hashlib
import json
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_foundry.errors import SaveError
from model_foundry.foundation.atomic_files import (
    LARGEST_MANIFEST,
    MANIFEST,
    MANIFEST_FORMAT,
    commit_directory,
    delete_directory,
    file_sha256,
    find_damage,
    is_committed,
    newer_format,
    remove_debris,
    write_text,
)
from model_foundry.foundation.failpoints import watching


def commit(target: Path, **files: str) -> None:
    with commit_directory(target) as aside:
        for name, text in files.items():
            (aside / name).write_text(text)


def manifest_of(directory: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text())
    return manifest


def forge(directory: Path, **changed: Any) -> None:
    """Write a manifest as the package would, with other facts in it."""
    facts = manifest_of(directory) | changed
    del facts["sha256"]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    (directory / MANIFEST).write_text(json.dumps(facts | {"sha256": digest}, indent=1) + "\n")


def entry(name: str, content: bytes = b"") -> dict[str, Any]:
    return {
        "name": name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def reseal(directory: Path, **changes: Any) -> None:
    """Make the manifest fit the files as they are now; `changes` are facts to be forged."""
    files = [path for path in sorted(directory.iterdir()) if path.name != MANIFEST]
    entries = [entry(path.name, path.read_bytes()) for path in files]
    forge(directory, **({"name": directory.name, "files": entries} | changes))


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
        "format": 2,
        "name": "done",
        "files": [
            {"name": "below/abc", "bytes": 3, "sha256": abc},
            {"name": "empty", "bytes": 0, "sha256": empty},
        ],
        # sha256sum of the rest as one line of JSON with sorted keys
        "sha256": "e8cc4d14bb96390f26055f15c83a9fdee41f343ec562465e8e29ca118367524b",
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


def test_the_message_of_a_full_disk_names_needed_and_free_bytes(tmp_path: Path) -> None:
    with (
        pytest.raises(SaveError, match=r"done: .*it needs 5,000 bytes and [\d,]+ are free;"),
        commit_directory(tmp_path / "done", needed=5000),
    ):
        raise OSError(28, "No space left on device")
    with (
        pytest.raises(SaveError, match=r"it needs more than 3 bytes"),
        commit_directory(tmp_path / "done") as aside,
    ):
        (aside / "file").write_text("abc")
        raise RuntimeError("I/O error: No space left on device (os error 28)")  # as Rust reports it
    assert os.listdir(tmp_path) == []


def test_what_reads_otherwise_than_it_was_written_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that loses what it was given."""
    rename = Path.rename

    def lose(self: Path, target: Path) -> Path:
        (self / "file").write_text("lost")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", lose)
    with pytest.raises(SaveError, match=r"reads back differently \(file differs"):
        commit(tmp_path / "done", file="text")


# --- damage ---------------------------------------------------------------------------------------


def test_what_was_committed_is_whole_and_files_of_the_system_do_not_matter(tmp_path: Path) -> None:
    commit(tmp_path / "done", file="text", second="")
    (tmp_path / "done" / ".DS_Store").touch()
    (tmp_path / "done" / ".hidden").mkdir()
    (tmp_path / "done" / ".hidden" / "file").touch()
    assert find_damage(tmp_path / "done") is None


def test_every_single_flipped_bit_is_found(tmp_path: Path) -> None:
    """All of them, in every file and in the manifest itself."""
    with commit_directory(tmp_path / "done") as aside:
        (aside / "weights").write_bytes(bytes(range(40)))
        (aside / "below").mkdir()
        (aside / "below" / "state.json").write_text('{"step": 10}')
    unseen = []
    for path in sorted(tmp_path.rglob("*")):
        if path.is_dir():
            continue
        raw = path.read_bytes()
        for bit in range(8 * len(raw)):
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            if find_damage(tmp_path / "done") is None:
                unseen.append((path.name, bit))
        path.write_bytes(raw)
    assert unseen == []
    assert find_damage(tmp_path / "done") is None


@pytest.mark.parametrize("name", ["file", MANIFEST])
def test_every_shorter_and_every_longer_file_is_found(tmp_path: Path, name: str) -> None:
    commit(tmp_path / "done", file="some text")
    path = tmp_path / "done" / name
    raw = path.read_bytes()
    for size in range(len(raw)):
        path.write_bytes(raw[:size])
        assert find_damage(tmp_path / "done") is not None, size
    for more in (b"\0", b"\n", b" ", raw):
        path.write_bytes(raw + more)
        assert find_damage(tmp_path / "done") is not None, more


Harm = Callable[[Path], object]
HARMS: dict[str, tuple[Harm, str]] = {
    "a file too many": (lambda d: (d / "more").touch(), f"more is not in {MANIFEST}"),
    "a file too many below": (
        lambda d: ((d / "below").mkdir(), (d / "below" / "x").touch()),
        f"below/x is not in {MANIFEST}",
    ),
    "a missing file": (lambda d: (d / "file").unlink(), "file is missing"),
    "a renamed file": (lambda d: (d / "file").rename(d / "File"), f"File is not in {MANIFEST}"),
    "swapped files": (
        lambda d: (
            (d / "file").rename(d / "x"),
            (d / "other").rename(d / "file"),
            (d / "x").rename(d / "other"),
        ),
        "file differs from what was saved",
    ),
    "a symlink to the same": (
        lambda d: ((d / "file").rename(d.parent / "f"), (d / "file").symlink_to(d.parent / "f")),
        "file is no regular file",
    ),
    "a dangling symlink": (
        lambda d: ((d / "file").unlink(), (d / "file").symlink_to("nowhere")),
        "file is no regular file",
    ),
    "a symlink to a directory": (
        lambda d: (d / "more").symlink_to(d.parent),
        f"more is not in {MANIFEST}",
    ),
    "a pipe": (
        lambda d: ((d / "file").unlink(), os.mkfifo(d / "file")),
        "file is no regular file",
    ),
    "a pipe as manifest": (
        lambda d: ((d / MANIFEST).unlink(), os.mkfifo(d / MANIFEST)),
        f"{MANIFEST} cannot be used (it is missing)",
    ),
    "a directory": (
        lambda d: ((d / "file").unlink(), (d / "file").mkdir()),
        "file is missing",
    ),
    "no manifest": (
        lambda d: (d / MANIFEST).unlink(),
        f"{MANIFEST} cannot be used (it is missing)",
    ),
    "a symlink as manifest": (
        lambda d: ((d / MANIFEST).rename(d.parent / "m"), (d / MANIFEST).symlink_to("../m")),
        f"{MANIFEST} cannot be used (it is missing)",
    ),
    "zeros": (
        lambda d: (d / MANIFEST).write_bytes(bytes((d / MANIFEST).stat().st_size)),
        f"{MANIFEST} cannot be used",
    ),
    "depth": (
        lambda d: (d / MANIFEST).write_text("[" * 100_000),
        f"{MANIFEST} cannot be used",
    ),
    "a manifest of another kind": (
        lambda d: (d / MANIFEST).write_text('["format", 2]'),
        f"{MANIFEST} cannot be used",
    ),
    "an older format": (lambda d: forge(d, format=1), "format 1, this version reads 2"),
    "a newer format": (lambda d: forge(d, format=3), "format 3, this version reads 2"),
    "files that are none": (lambda d: forge(d, files=7), f"{MANIFEST} cannot be used"),
    "entries that are none": (lambda d: forge(d, files=["file"]), f"{MANIFEST} cannot be used"),
    "names that are none": (lambda d: forge(d, files=[entry([])]), f"{MANIFEST} cannot be used"),
    "no files": (lambda d: forge(d, files=[]), f"file is not in {MANIFEST}"),
}


def swiftly(directory: Path) -> str | None:
    """Return the damage; a look that opens a pipe would never come back."""
    found: list[str | None] = []
    look = threading.Thread(target=lambda: found.append(find_damage(directory)), daemon=True)
    look.start()
    look.join(5)
    assert found, "it takes more than five seconds"
    return found[0]


@pytest.mark.parametrize("harm", sorted(HARMS))
def test_harm_is_found_and_named(tmp_path: Path, harm: str) -> None:
    commit(tmp_path / "done", file="text", other="more text")
    act, reason = HARMS[harm]
    act(tmp_path / "done")
    assert reason in str(swiftly(tmp_path / "done"))


def test_a_socket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(tmp_path / "done", file="text")
    monkeypatch.chdir(tmp_path / "done")  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("more")
        assert find_damage(tmp_path / "done") == f"more is not in {MANIFEST}"


def test_a_directory_in_the_place_of_another_is_found(tmp_path: Path) -> None:
    commit(tmp_path / "step-1", file="1")
    commit(tmp_path / "step-2", file="2")
    (tmp_path / "step-2").rename(tmp_path / "step-3")
    (tmp_path / "step-1").rename(tmp_path / "step-2")
    assert find_damage(tmp_path / "step-2") == f"{MANIFEST} belongs to a directory 'step-1'"
    assert find_damage(tmp_path / "step-3") == f"{MANIFEST} belongs to a directory 'step-2'"


@pytest.mark.parametrize(
    "name",
    ["../outside", "/etc/hostname", "a\0b", "", ".", "..", MANIFEST, "file/", "./file", "x" * 5000],
)
def test_a_manifest_that_names_what_is_not_in_the_directory_is_damage(
    tmp_path: Path, name: str
) -> None:
    """And nothing outside is opened, although a file there fits the manifest."""
    commit(tmp_path / "done", file="text")
    (tmp_path / "outside").write_text("abc")
    forge(tmp_path / "done", files=[entry("file", b"text"), entry(name, b"abc")])
    assert find_damage(tmp_path / "done") == f"{name} is missing"


@pytest.mark.slow
def test_a_manifest_with_a_million_entries_is_answered_soon(tmp_path: Path) -> None:
    commit(tmp_path / "done", file="text")
    forge(tmp_path / "done", files=[entry("file", b"text")] * 10**5)
    assert (tmp_path / "done" / MANIFEST).stat().st_size < LARGEST_MANIFEST
    assert swiftly(tmp_path / "done") is None  # the same entry a hundred thousand times
    entries = json.dumps(entry("x")) + ","
    (tmp_path / "done" / MANIFEST).write_text('{"files": [' + entries * 10**6)
    assert "larger than" in str(swiftly(tmp_path / "done"))


def test_a_manifest_too_large_to_read_is_not_read(tmp_path: Path) -> None:
    commit(tmp_path / "done", file="text")
    os.truncate(tmp_path / "done" / MANIFEST, 2**40)  # a file without blocks
    assert "is larger than 16,777,216 bytes" in str(swiftly(tmp_path / "done"))
    assert newer_format(tmp_path / "done") is None


def test_a_newer_format_is_no_damage(tmp_path: Path) -> None:
    commit(tmp_path / "done", file="text")
    assert newer_format(tmp_path / "done") is None
    forge(tmp_path / "done", format=MANIFEST_FORMAT + 1, novelty=[1])
    assert newer_format(tmp_path / "done") == MANIFEST_FORMAT + 1
    path = tmp_path / "done" / MANIFEST
    path.write_text(path.read_text().replace("novelty", "noveltx"))
    assert newer_format(tmp_path / "done") is None
    forge(tmp_path / "done", format="3")
    assert newer_format(tmp_path / "done") is None
    assert newer_format(tmp_path / "nowhere") is None


# --- deleting and debris --------------------------------------------------------------------------


def test_a_deleted_directory_is_gone_under_its_name_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(tmp_path / "done", file="text")
    delete_directory(tmp_path / "done")
    assert os.listdir(tmp_path) == []
    commit(tmp_path / "done", file="text")

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", die)
    with pytest.raises(KeyboardInterrupt):
        delete_directory(tmp_path / "done")
    monkeypatch.undo()
    assert not (tmp_path / "done").exists()
    assert len(remove_debris(tmp_path)) == 1
    assert os.listdir(tmp_path) == []


def test_only_debris_of_the_name_is_removed(tmp_path: Path) -> None:
    kept = ["done", ".done.lock", "tmp-done", ".tmp", ".hidden"]
    for name in (*kept, ".tmp-done-x", ".del-done-y", ".tmp-other-z"):
        (tmp_path / name).mkdir()
    assert sorted(remove_debris(tmp_path, "done")) == [".del-done-y", ".tmp-done-x"]
    assert remove_debris(tmp_path) == [".tmp-other-z"]
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    assert remove_debris(tmp_path / "nowhere") == []


def test_what_was_moved_away_to_be_replaced_comes_back_while_nothing_has_taken_its_place(
    tmp_path: Path,
) -> None:
    commit(tmp_path / "done", file="old")

    def die(point: str) -> None:
        if point == "done: old one moved away":
            raise KeyboardInterrupt

    with watching(die), pytest.raises(KeyboardInterrupt):
        commit(tmp_path / "done", file="new")
    assert not (tmp_path / "done").exists()
    remove_debris(tmp_path)
    assert os.listdir(tmp_path) == ["done"]
    assert (tmp_path / "done" / "file").read_text() == "old"
    assert find_damage(tmp_path / "done") is None
