"""Entries of a cache: made once, and never half."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_foundry.errors import Interrupted, SaveError
from model_foundry.foundation.atomic_files import commit_directory
from model_foundry.foundation.cache import building
from model_foundry.foundation.interrupts import handle_signals, stop_requested
from tests.children import KILLED, Child, child_running
from tests.foundation.test_atomic_files import commit
from tests.waiting import wait_until


def build_slowly(place: Path, begun: Path, finish: Path) -> None:
    with building(place), commit_directory(place) as aside:
        (aside / "file").write_text("made by another")
        begun.touch()
        wait_until(finish.exists)


@pytest.fixture
def entry_of_cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "tokens" / "0123"


@pytest.fixture
def builder(entry_of_cache: Path, tmp_path: Path) -> Iterator[Child]:
    """Another process, which builds the entry until there is a file `finish`."""
    begun, finish = tmp_path / "begun", tmp_path / "finish"
    with child_running(build_slowly, entry_of_cache, begun, finish) as child:
        wait_until(begun.exists)
        yield child


def test_an_entry_is_made_once(entry_of_cache: Path) -> None:
    for expected in (True, False, False):
        with building(entry_of_cache) as missing:
            assert missing is expected
            if missing:
                commit(entry_of_cache, file="text")


def test_an_entry_that_was_not_made_has_yet_to_be(entry_of_cache: Path) -> None:
    for error in (KeyError, KeyboardInterrupt):
        with pytest.raises(error), building(entry_of_cache) as missing:
            assert missing
            raise error
    with building(entry_of_cache) as missing:
        assert missing


def test_a_damaged_entry_is_named_and_made_again(
    entry_of_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commit(entry_of_cache, file="text")
    (entry_of_cache / "file").write_text("test")
    with building(entry_of_cache) as missing:
        assert missing
        commit(entry_of_cache, file="again")
    assert "0123 is damaged (file differs from what was saved) and is built again" in caplog.text
    assert (entry_of_cache / "file").read_text() == "again"


@pytest.mark.slow
def test_two_processes_do_not_make_the_same(
    builder: Child, entry_of_cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = []

    def build() -> None:
        with building(entry_of_cache) as missing:
            found.append((missing, (entry_of_cache / "file").read_text()))

    with caplog.at_level(logging.INFO):
        second = threading.Thread(target=build)
        second.start()
        wait_until(lambda: "waiting for" in caplog.text)
        assert found == []
        (tmp_path / "finish").touch()
        second.join(20)
    assert f"waiting for process {builder.process.pid}" in caplog.text
    assert found == [(False, "made by another")]


@pytest.mark.slow
def test_what_a_killed_process_began_is_removed_and_made_again(
    builder: Child, entry_of_cache: Path
) -> None:
    other_entry = entry_of_cache.with_name(".tmp-4567-of-a-living-process")
    other_entry.mkdir()
    (debris,) = entry_of_cache.parent.glob(".tmp-0123-*")
    builder.send(signal.SIGKILL)
    builder.ended(code=KILLED)
    assert (debris / "file").exists()
    with building(entry_of_cache) as missing:
        assert missing
        assert not debris.exists()
        assert other_entry.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("builder")
def test_waiting_for_another_process_ends_with_a_signal(entry_of_cache: Path) -> None:
    with handle_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(stop_requested)
        with pytest.raises(Interrupted):
            building(entry_of_cache).__enter__()


def test_a_cache_that_cannot_be_written_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match=r"file/tokens/0123: cannot be written"):
        building(tmp_path / "file" / "tokens" / "0123").__enter__()


def test_an_entry_that_is_whole_is_used_from_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(tmp_path / "entry", file="text")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with building(tmp_path / "entry") as missing:
        assert not missing
