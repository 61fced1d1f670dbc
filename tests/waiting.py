"""Waiting for other processes and threads, and bounds on computing time."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def wait_until(true: Callable[[], object]) -> None:
    """Wait until a condition holds, for at most a minute."""
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def terminated_at(process: subprocess.Popen[str], beginning: str) -> str:
    """Send SIGTERM once a line of standard error begins so; return the rest of it."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(beginning):
            break
    process.send_signal(signal.SIGTERM)
    return process.stderr.read()


@contextmanager
def computing_less_than(seconds: float) -> Iterator[None]:
    """Assert that the block computes for less than so long, however busy the machine is."""
    began = time.process_time()
    yield
    assert time.process_time() - began < seconds
