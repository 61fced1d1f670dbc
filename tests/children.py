"""Runs in processes of their own, which a test may kill at a named point.

The processes are forked from a server that has imported everything and started no thread, so that
each costs a tenth of a second and not five.
"""

import inspect
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import torch

import model_foundry.cli.dispatch  # noqa: F401 - so that the server has imported it
from model_foundry.architectures import MODEL_REGISTRY
from model_foundry.errors import FoundryError
from model_foundry.experiment.train import train
from model_foundry.foundation import interrupts
from model_foundry.foundation.failpoints import watching
from model_foundry.foundation.plugins import load_plugin
from tests.experiments import MODELS, tiny_experiment

CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["pytest", __name__])
KILLED, STOPPED = -signal.SIGKILL, 75  # exit codes: of a killed process, and after a signal

for _model in MODELS.values():
    MODEL_REGISTRY[_model["architecture"]]


@dataclass(frozen=True)
class Fault:
    """A signal that strikes when a run reaches a point for the `time`-th time."""

    point: str
    """End of the name of a failpoint."""
    signal: int = signal.SIGKILL
    time: int = 1
    repeated: int = 1
    """Number of times that the signal is sent."""


@dataclass(frozen=True)
class Ended:
    """The exit code and the messages of a process."""

    code: int
    """Exit code; negative: the signal that killed it."""
    stderr: str
    """Its standard error stream."""


def in_child(
    function: Callable[..., Any],
    *arguments: Any,
    code: int | None = None,
    threads: int = 1,
    timeout: float = 120,
) -> Ended:
    """Call a function of a test module in a process of its own.

    An exception ends it with the exit code that the command line would return.

    Args:
        code: the exit code that the process must have; None: any.
    """
    with child_running(function, *arguments, threads=threads) as child:
        return child.ended(timeout, code=code)


@contextmanager
def child_running(
    function: Callable[..., Any], *arguments: Any, threads: int = 1
) -> Iterator["Child"]:
    """Call a function in a process of its own for the length of the block, and kill it then."""
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as file:
        process = CHILDREN.Process(target=_run, args=(file.name, threads, function, arguments))
        process.start()
        try:
            yield Child(process, file)
        finally:
            process.kill()
            process.join()


@dataclass(frozen=True)
class Child:
    """A process that was started and may still run."""

    process: Any
    output: IO[str]

    def send(self, number: int) -> None:
        """Send a signal; nothing happens where the process is gone."""
        if self.process.is_alive():
            os.kill(self.process.pid, number)

    def ended(self, timeout: float = 120, *, code: int | None = None) -> Ended:
        """Wait for its end; see `in_child`."""
        self.process.join(timeout)
        stderr = self.output.read()
        assert self.process.exitcode is not None, f"still running after {timeout} seconds: {stderr}"
        assert code is None or self.process.exitcode == code, stderr
        return Ended(self.process.exitcode, stderr)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def as_rank(index: int, number: int, port: int, do: Callable[..., Any], arguments: Any) -> None:
    """Do something as the process of a launcher."""
    os.environ |= {
        "RANK": str(index),
        "LOCAL_RANK": str(index),
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    do(*arguments)


def launched(*calls: tuple[Any, ...]) -> list[Ended]:
    """Start a process for each (function, arguments...), as one launcher would."""
    port = free_port()
    with ExitStack() as stack:
        children = [
            stack.enter_context(child_running(as_rank, index, len(calls), port, call[0], call[1:]))
            for index, call in enumerate(calls)
        ]
        return [child.ended() for child in children]


def _run(output: str, threads: int, function: Callable[..., Any], arguments: Any) -> None:
    os.dup2(os.open(output, os.O_WRONLY), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115  # until the process ends
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO, force=True)
    torch.set_num_threads(threads)
    code = 0
    try:
        function(*arguments)
    except FoundryError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
        code = FoundryError.exit_code
    with suppress(OSError):  # a test may have taken the stream away
        sys.stderr.flush()
    os._exit(code)


def train_in_child(
    kind: str,
    directory: Path,
    *overrides: str,
    fault: Fault | None = None,
    code: int | None = None,
    threads: int = 1,
    **options: Any,
) -> Ended:
    """Run `tiny_experiment(kind, directory, *overrides)`, with a fault or without."""
    arguments = (kind, directory, overrides, fault, options)
    return in_child(train_with, *arguments, code=code, threads=threads)


def train_with(
    kind: str,
    directory: Path,
    overrides: tuple[str, ...],
    fault: Fault | None,
    options: dict[str, Any],
) -> None:
    """Train in this process; a fault strikes at its point.

    Args:
        options: those of `train`, and `plugins`, which are loaded first.
    """
    for plugin in options.pop("plugins", ()):
        load_plugin(plugin)
    with watching(striking(fault)):
        train(tiny_experiment(kind, directory, *overrides), **options)


def before(target: str, strike: Callable[[], object], *, call: int | None = None) -> None:
    """Have this process call `strike` before each call of a function.

    Args:
        target: `module:function` or `module:Class.method`.
        call: the number of the only call that is struck, from 1; None: all are.
    """
    module, _, name = target.partition(":")
    owner: Any = import_module(module)
    *classes, name = name.split(".")
    for part in classes:
        owner = getattr(owner, part)
    function, calls = getattr(owner, name), 0
    is_static = isinstance(inspect.getattr_static(owner, name), staticmethod)

    def struck(*positional: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if call in (calls, None):
            strike()
        return function(*positional, **named)

    setattr(owner, name, staticmethod(struck) if is_static else struck)


def striking(fault: Fault | None) -> Callable[[str], None]:
    """Return a watcher of failpoints that sends the signal of `fault`; None strikes never."""
    reached = 0

    def strike(point: str) -> None:
        nonlocal reached
        if fault is not None and point.endswith(fault.point):
            reached += 1
            if reached == fault.time:
                for _ in range(fault.repeated):
                    send(fault.signal)

    return strike


def send(number: int) -> None:
    """Send a signal to this process, and wait until it is noted: a thread does that."""
    listener = interrupts._listener
    before = listener._count if listener else 0
    os.kill(os.getpid(), number)
    until = time.monotonic() + 10
    while listener and listener._count == before and time.monotonic() < until:
        time.sleep(0.001)
