"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable


def wait_until(true: Callable[[], object]) -> None:
    """Wait until a condition holds, for at most twenty seconds."""
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.005)
