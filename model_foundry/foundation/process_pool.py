"""Parallel map over batches in several processes, with results in order.

The processes are forked, so that they have the plugins and tokenizers of this one. Only batches and
arrays pass between them.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from multiprocessing import get_context
from typing import Any, TypeVar

from model_foundry.errors import WorkerError
from model_foundry.foundation.hardware import usable_cores
from model_foundry.foundation.interrupts import check_interrupt

T = TypeVar("T")
R = TypeVar("R")
BATCH = 2**20  # characters of one batch, about
MOST_BY_DEFAULT = 16  # processes: more would wait for the one that reads
AHEAD = 3  # batches in flight per process: enough that none waits, few enough for memory
WATCH = 1.0  # seconds between two checks that the parent is alive

_work: Callable[[Any], Any] | None = None  # function of the forked processes


def processes_for(asked: int | None) -> int:
    """Return the number of processes for `data.preprocessing_num_workers`."""
    return min(usable_cores(), MOST_BY_DEFAULT) if asked is None else asked


def map_in_order(
    function: Callable[[T], R], batches: Iterable[T], *, processes: int
) -> Iterator[R]:
    """Yield `function(batch)` for each batch, in order.

    Args:
        processes: number of processes; with 0 or 1, this process does the work itself.

    Raises:
        WorkerError: a process has died.
        Interrupted: a signal arrived.
    """
    batches = iter(batches)
    first = list(islice(batches, 2)) if processes > 1 else []
    batches = chain(first, batches)
    if len(first) < 2:  # for a single batch, starting a process takes longer
        for batch in batches:
            check_interrupt()
            yield function(batch)
        return
    try:
        with _pool(function, processes) as pool:
            in_flight: deque[Future[R]] = deque()
            for batch in batches:
                in_flight.append(pool.submit(_do, batch))
                if len(in_flight) >= AHEAD * processes:
                    yield _result(in_flight.popleft())
            while in_flight:
                yield _result(in_flight.popleft())
    except BrokenProcessPool as error:
        for _ in range(20):  # a signal to the group may have ended it and arrive here later
            check_interrupt()
            time.sleep(0.05)
        raise WorkerError(
            "data.preprocessing_num_workers: a process that tokenises has died, as happens when "
            "memory runs out; run the same command again, with 0 if it comes back"
        ) from error


def _result(future: "Future[R]") -> R:
    check_interrupt()
    return future.result()


def _do(batch: Any) -> Any:
    assert _work is not None  # set before the fork
    return _work(batch)


@contextmanager
def _pool(function: Callable[[Any], Any], processes: int) -> Iterator[ProcessPoolExecutor]:
    global _work
    _work = function
    pool = ProcessPoolExecutor(
        processes,
        mp_context=get_context("fork"),
        initializer=_exit_with_parent,
        initargs=(os.getpid(),),
    )
    try:
        with _one_thread_each():
            pool.submit(os.getpid).result()  # forks all processes now
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _work = None


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep the tokenizers library from starting threads in a forked process.

    It reads the variable during the fork, and warns on every fork without it.
    """
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _exit_with_parent(parent: int) -> None:
    """End this process when its parent is killed."""
    # the pool ends its processes with this signal, which was blocked for the fork
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
