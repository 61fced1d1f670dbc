"""Waiting for what another process or thread does."""

import signal
import subprocess
import time
from collections.abc import Callable


def wait_until(true: Callable[[], object]) -> None:
    """Wait until a condition holds, for at most twenty seconds."""
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.005)


def terminated_at(process: subprocess.Popen[str], beginning: str) -> str:
    """Send SIGTERM once a line of standard error begins so; return what is said from then on."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(beginning):
            break
    process.send_signal(signal.SIGTERM)
    return process.stderr.read()
