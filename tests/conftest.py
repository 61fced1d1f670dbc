"""Fixtures of every test: one thread, no network, and a cache of the session.

The environment is set here, before any test file can import torch. Nothing here imports it, so that
tests of the floors that know no torch stay fast.
"""

import logging
import multiprocessing.process
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_foundry.foundation.plugins import LOADED_PLUGINS

os.environ.update(
    OMP_NUM_THREADS="1",
    OMP_WAIT_POLICY="passive",  # two threads on one free core must not wait by spinning
    HF_HUB_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
)
# Under nohup, and in the background of a script, signals are ignored, and so they would be in every
# process of a test. A handler that does nothing here becomes the default action there.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, lambda number, frame: None)
HERE = {"localhost", "127.0.0.1", "::1"}

_connect = socket.socket.connect


def _connect_here(self: socket.socket, address: Any) -> None:
    """Connect within this machine only."""
    if self.family != socket.AF_UNIX and address[0] not in HERE:
        raise RuntimeError(f"a test tried to reach {address}; tests run offline")
    _connect(self, address)


@pytest.fixture(scope="session", autouse=True)
def _offline() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _connect_here)
        yield


may_start_processes = True


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note, before any fixture is made, whether the test may start processes."""
    global may_start_processes
    marks = {mark.name for mark in item.iter_markers()}
    may_start_processes = bool(marks & {"slow", "torture", "gpu"})


def _checking_marks(start: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*arguments: Any, **options: Any) -> Any:
        # the first import of matplotlib on a machine lists its fonts
        lists_fonts = arguments[1:] and "fc-list" in arguments[1]
        if not (may_start_processes or lists_fonts):
            pytest.fail("a test that starts a process must be marked with `pytest.mark.slow`")
        return start(*arguments, **options)

    return checked


@pytest.fixture(scope="session", autouse=True)
def _processes_of_slow_tests_only() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (subprocess.Popen, "__init__"),
            (multiprocessing.process.BaseProcess, "start"),
            (os, "fork"),
        ):
            patch.setattr(owner, name, _checking_marks(getattr(owner, name)))
        yield


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOUNDRY_CACHE", str(tmp_path_factory.mktemp("cache")))
        # `datasets` reads it once, when it is imported
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("huggingface")))
        yield


@pytest.fixture(autouse=True)
def _the_log_is_as_imported() -> None:
    """Undo what a command, perhaps in a fixture of a module, did to the package's logger."""
    logger = logging.getLogger("model_foundry")
    logger.handlers, logger.level, logger.propagate = [], logging.NOTSET, True


@pytest.fixture(autouse=True)
def _plugins_are_forgotten() -> Any:
    """Forget plugins that a command has loaded, which later runs would record."""

    before = dict(LOADED_PLUGINS)
    yield
    for path in LOADED_PLUGINS.keys() - before.keys():
        del LOADED_PLUGINS[path]


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return Path(__file__).parents[1]
