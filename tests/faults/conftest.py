"""The text of the smallest run, and the uninterrupted run."""

from pathlib import Path

import pytest

from tests.faults.runs import train_smallest

ADJECTIVES = ("big", "small", "old", "new", "red", "quick", "tired", "happy")
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a training text of fifty lines, and a validation text."""
    directory = tmp_path_factory.mktemp("corpus")
    lines = [f"the {a} dog saw {n} cats ." for a in ADJECTIVES for n in NUMBERS]
    (directory / "train.txt").write_text("\n".join(lines) + "\n")
    (directory / "validation.txt").write_text("\n".join(lines[::7]).replace("the", "a") + "\n")
    return directory


@pytest.fixture(scope="session")
def reference(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the smallest run, uninterrupted, with all its checkpoints."""
    directory = tmp_path_factory.mktemp("reference")
    train_smallest(corpus, directory)
    return directory / "run"
