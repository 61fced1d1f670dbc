"""Nobody is asked, nothing blocks, and each test has a directory of its own to spoil."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_foundry.architectures import MODEL_REGISTRY, register_architecture
from tests.hostile.directories import KINDS, PLAIN, Plain


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    register_architecture(PLAIN)(Plain)
    yield
    MODEL_REGISTRY.pop(PLAIN)


@pytest.fixture(autouse=True)
def _nobody_is_asked_and_nothing_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def asked(*_: object) -> str:
        raise AssertionError("a question was asked")

    def too_long(*_: object) -> None:
        raise AssertionError("took too long")

    monkeypatch.setattr("builtins.input", asked)
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("originals")
    register_architecture(PLAIN)(Plain)
    for name, kind in KINDS.items():
        kind.save(root / name)
    MODEL_REGISTRY.pop(PLAIN)
    return {name: root / name for name in KINDS}


@pytest.fixture
def fresh(originals: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copy the directory of a kind, to be tampered with."""
    return lambda kind: Path(shutil.copytree(originals[kind], tmp_path / kind))
