"""The built-in language, and a reader of small ones."""

from collections.abc import Callable
from pathlib import Path

import pytest

from model_foundry.synthetic_language import Language, load_language


@pytest.fixture(scope="session")
def english() -> Language:
    """Return the built-in language."""
    return load_language()


@pytest.fixture
def language_of(tmp_path: Path) -> Callable[[str], Language]:
    """Return a function that reads a language from the text of its grammar file."""

    def read(text: str) -> Language:
        path = tmp_path / "grammar.yaml"
        path.write_text(text, encoding="utf-8")
        return Language.from_file(path)

    return read
