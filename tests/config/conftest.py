"""The command line inside this process, in a directory that holds a good experiment."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from model_foundry.cli import main

GOOD = """
experiment_name: one
data: {train: corpus.txt, document: line, max_sequence_length: 8}
tokenizer: {tokenizer_type: character}
model: {architecture: gpt2, transformer: {layers: 1, hidden_size: 8, attention_heads: 2}}
training: {max_steps: 2, per_device_train_batch_size: 2}
"""
CORPUS = "".join(f"a line of {number} words\n" for number in range(40))


class Ended(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def faults(self) -> list[str]:
        """The lines that report a fault."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


Foundry = Callable[..., Ended]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: a good experiment and its corpus, and no cache yet."""
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "corpus.txt").write_text(CORPUS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOUNDRY_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def foundry(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Foundry]:
    """Run `foundry` with these arguments."""
    logger = logging.getLogger("model_foundry")
    before = logger.handlers, logger.level, logger.propagate

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["foundry", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    yield run
    logger.handlers, logger.level, logger.propagate = before
