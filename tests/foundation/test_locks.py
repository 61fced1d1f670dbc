"""Locks between processes: waiting, refusal, release."""

import errno
import fcntl
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_foundry.errors import Interrupted, LockedError, SaveError
from model_foundry.foundation.interrupts import handle_signals, stop_requested
from model_foundry.foundation.locks import exclusive
from tests.children import KILLED, Child, child_running, in_child
from tests.waiting import wait_until


def hold(lock: Path, held: Path) -> None:
    """Hold a lock until the process ends; leave a file once it is held."""
    with exclusive(lock):
        held.touch()
        time.sleep(60)


def fork_and_die(lock: Path, number: Path) -> None:
    """Fork a process that outlives this one, which holds the lock; leave its number in a file."""
    with exclusive(lock):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        number.write_text(str(child))
        os.kill(os.getpid(), signal.SIGKILL)


def can_be_taken(lock: Path) -> bool:
    try:
        with exclusive(lock):
            return True
    except LockedError:
        return False


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


@pytest.fixture
def holder(lock: Path) -> Iterator[Child]:
    """Another process, which holds the lock."""
    held = lock.with_name("held")
    with child_running(hold, lock, held) as child:
        wait_until(held.exists)
        yield child


def test_a_lock_is_held_for_its_block_whatever_way_that_ends(lock: Path) -> None:
    with pytest.raises(KeyError), exclusive(lock):
        assert not can_be_taken(lock)
        raise KeyError
    assert can_be_taken(lock)


@pytest.mark.slow
def test_the_holder_is_named_and_holds_nothing_once_it_is_killed(lock: Path, holder: Child) -> None:
    pid = holder.process.pid
    with pytest.raises(LockedError, match=rf"in use by process {pid} on \S+ since 20"):
        exclusive(lock).__enter__()
    holder.send(signal.SIGKILL)
    holder.ended(code=KILLED)
    assert can_be_taken(lock)


def test_the_name_of_the_holder_replaces_the_last_one(lock: Path) -> None:
    lock.write_text("x" * 1000)
    with exclusive(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 1}'])
def test_a_holder_that_left_no_name_is_another_process(lock: Path, text: str) -> None:
    with exclusive(lock):
        lock.write_text(text)
        with pytest.raises(LockedError, match="is in use by another process"):
            exclusive(lock).__enter__()


@pytest.mark.slow
def test_what_a_killed_process_forked_holds_nothing(lock: Path, tmp_path: Path) -> None:
    in_child(fork_and_die, lock, tmp_path / "number", code=KILLED)
    wait_until(lambda: can_be_taken(lock))  # as soon as the fork is complete
    os.kill(int((tmp_path / "number").read_text()), signal.SIGKILL)  # it was alive


def test_a_waiting_process_is_next_and_names_the_holder(
    lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    order = []

    def wait() -> None:
        with exclusive(lock, wait=True):
            order.append("second")

    second = threading.Thread(target=wait)
    with caplog.at_level(logging.INFO), exclusive(lock):
        second.start()
        wait_until(lambda: "waiting for" in caplog.text)
        time.sleep(0.5)  # tries again, and logs it once
        order.append("first")
    second.join()
    assert order == ["first", "second"]
    assert caplog.text.count(f"waiting for process {os.getpid()}") == 1


def test_a_lock_file_that_its_holder_removed_is_no_lock(
    lock: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else one process would hold the removed file and another its successor."""
    held, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with exclusive(lock, wait=True):
            held.set()
            leave.wait(20)

    second = threading.Thread(target=wait)
    with caplog.at_level(logging.INFO), exclusive(lock):
        second.start()
        wait_until(lambda: "waiting for" in caplog.text)
        lock.unlink()
    assert held.wait(20)
    assert lock.exists()
    assert not can_be_taken(lock)
    leave.set()
    second.join()


def test_a_lock_taken_between_opening_and_removal_is_looked_for_again(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, removed = fcntl.flock, []

    def remove_first(descriptor: int, operation: int) -> None:
        if not removed:
            removed.append(lock.unlink())
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with exclusive(lock):
        assert removed
        assert not can_be_taken(lock)


def test_waiting_ends_with_a_signal_and_leaves_nothing_open(lock: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    with exclusive(lock):
        with handle_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            wait_until(stop_requested)
            with pytest.raises(Interrupted, match="SIGTERM"):
                exclusive(lock, wait=True).__enter__()
        assert not can_be_taken(lock)
    assert len(os.listdir("/dev/fd")) == before


def test_a_lock_that_cannot_be_is_an_error_of_storage(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SaveError, match=r"nowhere/\.lock: cannot be written \(No such file"):
        exclusive(lock.parent / "nowhere" / ".lock").__enter__()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(SaveError, match=r"no locks \(No locks available\); .*--no-lock"):
        exclusive(lock).__enter__()
