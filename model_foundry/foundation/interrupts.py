"""Requests to stop: SIGINT, SIGTERM and SIGHUP, checked at safe places.

The first signal is recorded, and `check_interrupt` raises at the next safe place. The second one
logs what the process is waiting for. The third ends the process at once; committed files stay
intact, because nothing is written in place.

A thread counts the signals, so that they are answered during a long call of a compiled library.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from model_foundry.errors import Interrupted

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LAST_WARNING = 2  # the next signal ends the process


class _Listener:
    """Counter of the signals that arrive during a block."""

    def __init__(self) -> None:
        self.first: str | None = None
        self.during = "the start"
        self.on_disk: Callable[[], str] | None = None
        self._count = 0
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._thread = threading.Thread(target=self._count_signals, name="signals", daemon=True)

    def start(self) -> None:
        ours = [s for s in SIGNALS if signal.getsignal(s) != signal.SIG_IGN]  # ignored under nohup
        # without a Python handler, the system's default would end the process
        self._handlers = {s: signal.signal(s, lambda number, frame: None) for s in ours}
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._thread.start()

    def stop(self) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._writer.shutdown(socket.SHUT_WR)  # closing is not enough: forked processes share it
        self._writer.close()
        self._thread.join()
        self._reader.close()

    def _count_signals(self) -> None:
        while received := self._reader.recv(1):
            number = received[0]
            if number in self._handlers:
                self._answer(signal.Signals(number))

    def _answer(self, number: signal.Signals) -> None:
        self._count += 1
        if self._count > LAST_WARNING:
            message = f"{number.name}: ended at once, during {self.during}{self._on_disk()}"
            os.write(2, f"{message}\n".encode())
            os._exit(128 + number)
        if self.first is None:
            self.first = number.name
            logger.warning(
                "%s during %s: stopping at the next point where nothing is lost",
                *(self.first, self.during),
            )
        else:
            logger.warning(
                "%s: still waiting for %s; one more signal ends the process at once%s",
                *(number.name, self.during, self._on_disk()),
            )

    def _on_disk(self) -> str:
        return f"; {self.on_disk()}" if self.on_disk else ""


_listener: _Listener | None = None


@contextmanager
def handle_signals() -> Iterator[None]:
    """Turn signals into requests to stop in the block.

    In a nested block, or outside the main thread, nothing changes.
    """
    global _listener
    if _listener is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _listener = _Listener()
    _listener.start()
    try:
        yield
    finally:
        _listener.stop()
        _listener = None


def stop_requested() -> str | None:
    """Return the name of the first signal; None: no signal has arrived."""
    return _listener.first if _listener else None


def check_interrupt() -> None:
    """Raise Interrupted if a signal has arrived."""
    if name := stop_requested():
        raise Interrupted(f"{name}: stopped")


@contextmanager
def _replaced(attribute: str, value: Any) -> Iterator[None]:
    if _listener is None:
        yield
        return
    before = getattr(_listener, attribute)
    setattr(_listener, attribute, value)
    try:
        yield
    finally:
        setattr(_listener, attribute, before)


def blocking_section(what: str) -> AbstractContextManager[None]:
    """Name the block that a signal has to wait for, such as 'the save of step 10'."""
    return _replaced("during", what)


def report_on_disk(on_disk: Callable[[], str]) -> AbstractContextManager[None]:
    """Append `on_disk()`, the state of the saved files, to messages of signals in the block."""
    return _replaced("on_disk", on_disk)


def _block_signals() -> None:
    if _listener is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _unblock_signals() -> None:
    if _listener is not None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _stay_blocked_in_child() -> None:
    """Keep signals away from a forked process.

    The parent stops a process that prepares batches; if a signal to the process group killed it,
    the step would fail. It would also count signals through the descriptor that it shares.
    """
    global _listener
    if _listener is not None:
        signal.set_wakeup_fd(-1)
        _listener = None


os.register_at_fork(
    before=_block_signals, after_in_parent=_unblock_signals, after_in_child=_stay_blocked_in_child
)
