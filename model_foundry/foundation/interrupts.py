"""Requests to stop: SIGINT, SIGTERM and SIGHUP as something the program asks for when it suits it.

The first signal is noted, and `poll` raises at the next safe place. A second one says what is still
waited for. A third ends the process at once: whatever was committed stays whole, because nothing
is ever written in place.

Signals are counted by a thread that the system's own handler wakes, so that they are answered
while the main thread is inside a long call of a compiled library.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from model_foundry.errors import Interrupted

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LAST_WARNING = 2  # the next signal is obeyed at once


class _Listener:
    """Counts the signals of a block of code."""

    def __init__(self) -> None:
        self.first: str | None = None
        self.during = "the start"
        self.on_disk: Callable[[], str] | None = None
        self._count = 0
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._thread = threading.Thread(target=self._count_signals, name="signals", daemon=True)

    def start(self) -> None:
        ours = [s for s in SIGNALS if signal.getsignal(s) != signal.SIG_IGN]  # as nohup asks
        # Python needs a handler of its own, or the system's would end the process
        self._handlers = {s: signal.signal(s, lambda number, frame: None) for s in ours}
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._thread.start()

    def stop(self) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._writer.shutdown(socket.SHUT_WR)  # closing is not enough: forked processes have it too
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
            said = f"{number.name}: ended at once, during {self.during}{self._left()}"
            os.write(2, f"{said}\n".encode())
            os._exit(128 + number)
        if self.first is None:
            self.first = number.name
            logger.warning(
                "%s: asked to stop during %s; stops as soon as nothing is lost by it",
                self.first,
                self.during,
            )
        else:
            logger.warning(
                "%s: still waiting for %s; one more ends the process at once%s",
                *(number.name, self.during, self._left()),
            )

    def _left(self) -> str:
        return f"; {self.on_disk()}" if self.on_disk else ""


_listener: _Listener | None = None


@contextmanager
def handle_signals() -> Iterator[None]:
    """Answer signals with a request to stop for the length of the block.

    Within such a block already, or in a thread that is not the main one, nothing changes.
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
    """Return the name of the signal that asked to stop; None while none came."""
    return _listener.first if _listener else None


def check_interrupt() -> None:
    """Stop here if a signal asked for it.

    Raises:
        Interrupted: a signal came.
    """
    if name := stop_requested():
        raise Interrupted(f"{name}: stopped")


@contextmanager
def blocking_section(what: str) -> Iterator[None]:
    """Say what a signal would have to wait for within the block, such as 'the save of step 10'."""
    if _listener is None:
        yield
        return
    before, _listener.during = _listener.during, what
    try:
        yield
    finally:
        _listener.during = before


@contextmanager
def leaving(on_disk: Callable[[], str]) -> Iterator[None]:
    """Have whoever ends the process within the block told what is on the disk by then."""
    if _listener is None:
        yield
        return
    before, _listener.on_disk = _listener.on_disk, on_disk
    try:
        yield
    finally:
        _listener.on_disk = before


def _hold_back() -> None:
    if _listener is not None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _let_through() -> None:
    if _listener is not None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _leave_to_the_parent() -> None:
    """Keep signals from a forked process, for good.

    A process that prepares batches is stopped by the one that reads them; one that died of a
    signal to the whole process group would take the step with it. The two share the descriptor that
    counts signals, so that each of them would count as well.
    """
    global _listener
    if _listener is not None:
        signal.set_wakeup_fd(-1)
        _listener = None


os.register_at_fork(
    before=_hold_back, after_in_parent=_let_through, after_in_child=_leave_to_the_parent
)
