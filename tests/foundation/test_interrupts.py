"""Real signals: the effects of the first, the second and the third."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_foundry.errors import Interrupted
from model_foundry.foundation.interrupts import (
    SIGNALS,
    blocking_section,
    check_interrupt,
    handle_signals,
    stop_requested,
)
from tests.waiting import wait_until

START = """
import hashlib, logging, os, signal, sys, time
from model_foundry.foundation.interrupts import (
    blocking_section, check_interrupt, handle_signals, report_on_disk, stop_requested
)
logging.basicConfig(format="%(message)s", stream=sys.stderr)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
"""
BUSY = """
step8 = report_on_disk(lambda: "the last checkpoint is step 8")
with handle_signals(), blocking_section("the save of step 10"), step8:
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
"""
# One call of a compiled library that would take minutes, in which no Python code runs.
IN_A_LONG_CALL = """
with handle_signals(), blocking_section("a long call"):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""
# A signal to the whole process group; the forked process answers afterwards through a pipe.
FORKED = """
reader, writer = os.pipe()
with handle_signals():
    child = os.fork()
    if child == 0:
        os.read(reader, 1)
        os._exit(7 if stop_requested() is None else 8)
    os.killpg(0, signal.SIGTERM)
    while stop_requested() is None:
        time.sleep(0.01)
    time.sleep(0.3)  # what the other process would count comes, too
    os.write(writer, b"x")
    print("child ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
# Forks after a signal came.
FORKED_LATE = """
with handle_signals():
    os.kill(os.getpid(), signal.SIGTERM)
    while stop_requested() is None:
        time.sleep(0.01)
    child = os.fork()
    if child == 0:
        check_interrupt()
        with handle_signals():
            os._exit(7)
    print("child ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
AS_NOHUP = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with handle_signals():
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.3)
    check_interrupt()
    print("went on", signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, flush=True)
print("as before", signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, flush=True)
"""


@pytest.fixture(autouse=True)
def _as_in_the_foreground() -> Iterator[None]:
    """A shell makes tests in the background ignore the keyboard."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def running(project: Path, program: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program in a process group of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", START + program],
        env=os.environ | {"PYTHONPATH": str(project)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def send(number: int, caplog: pytest.LogCaptureFixture) -> str:
    """Send a signal to this process; return what is answered."""
    caplog.clear()
    os.kill(os.getpid(), number)
    wait_until(lambda: caplog.records)
    return caplog.messages[-1]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_obeyed_at_the_next_look(
    number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    with handle_signals():
        check_interrupt()
        assert stop_requested() is None
        assert send(number, caplog).startswith(f"{number.name} during the start: stopping")
        assert stop_requested() == number.name
        for _ in range(2):  # it stays a request until the block ends
            with pytest.raises(Interrupted, match=rf"^{number.name}: stopped$"):
                check_interrupt()
    assert stop_requested() is None
    check_interrupt()


def test_the_second_signal_names_the_section_in_progress(caplog: pytest.LogCaptureFixture) -> None:
    with handle_signals(), blocking_section("the run"):
        with blocking_section("the save of step 10"):
            first = send(signal.SIGTERM, caplog)
            second = send(signal.SIGINT, caplog)
        assert "during the save of step 10: stopping" in first
        assert second.startswith("SIGINT: still waiting for the save of step 10; one more signal")
        assert stop_requested() == "SIGTERM"  # the first is the one that is obeyed


def test_the_innermost_open_section_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with handle_signals():
        with pytest.raises(KeyError), blocking_section("the save"):
            raise KeyError
        with blocking_section("step 1"):
            with blocking_section("a part of it"):
                pass
            assert "during step 1: " in send(signal.SIGTERM, caplog)
        assert "waiting for the start;" in send(signal.SIGTERM, caplog)


@pytest.mark.slow
@pytest.mark.parametrize("program", [BUSY, IN_A_LONG_CALL], ids=["python", "compiled"])
@pytest.mark.parametrize("number", SIGNALS)
def test_the_third_signal_ends_the_process_at_once(
    number: signal.Signals, program: str, project: Path
) -> None:
    with running(project, program) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        answers = []
        for _ in range(3):  # the system joins signals that come together
            process.send_signal(number)
            answers.append(process.stderr.readline())
        assert process.wait(timeout=60) == 128 + number
    what = "the save of step 10" if program == BUSY else "a long call"
    left = "; the last checkpoint is step 8" if program == BUSY else ""
    assert f"during {what}: stopping" in answers[0]
    assert f"still waiting for {what}; one more signal ends the process" in answers[1]
    assert answers[1].endswith(f"at once{left}\n")
    assert answers[2] == f"{number.name}: ended at once, during {what}{left}\n"


def test_handlers_are_those_of_before_once_the_block_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    mine = [signal.getsignal(number) for number in SIGNALS]
    try:
        with pytest.raises(Interrupted), handle_signals():
            send(signal.SIGTERM, caplog)
            assert heard == []
            check_interrupt()
        assert [signal.getsignal(number) for number in SIGNALS] == mine
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: heard)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_nothing_stays_open_and_no_thread_stays() -> None:
    before = len(os.listdir("/dev/fd")), threading.active_count()
    for _ in range(5):
        with handle_signals():
            pass
    assert (len(os.listdir("/dev/fd")), threading.active_count()) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_block_within_a_block_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with handle_signals():
        with handle_signals():
            send(signal.SIGTERM, caplog)
        assert stop_requested() == "SIGTERM"
        assert "still waiting" in send(signal.SIGTERM, caplog)


def test_outside_the_main_thread_nothing_is_installed() -> None:
    found = []

    def listen() -> None:
        with handle_signals(), blocking_section("the work of a thread"):
            check_interrupt()
            found.append([signal.getsignal(number) for number in SIGNALS])

    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [before]


def test_other_signals_are_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with caplog.at_level(logging.INFO), handle_signals():
            os.kill(os.getpid(), signal.SIGUSR1)
            wait_until(lambda: heard)
            time.sleep(0.1)
            assert stop_requested() is None
        assert caplog.messages == []
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "printed", "answers"),
    [
        (AS_NOHUP, "went on True\nas before True\n", 0),
        (FORKED, "child ended with 7\n", 1),
        (FORKED_LATE, "child ended with 7\n", 1),
    ],
    ids=["ignored before", "to a forked process too", "before a fork"],
)
def test_a_signal_is_for_the_process_that_listens(
    program: str, printed: str, answers: int, project: Path
) -> None:
    with running(project, program) as process:
        out, err = process.communicate(timeout=60)
    assert out == printed
    assert (err.count("SIGTERM"), err.count("\n")) == (answers, answers)
