"""Processors in the directory of a model: each role has files of its own."""

from pathlib import Path

from model_foundry.objectives.processors import (
    Processor,
    TextTokenizer,
    load_processors,
    save_processors,
)
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory

TEXTS = {"tokenizer": "a b c d", "target_tokenizer": "x y z"}


def test_two_tokenizers_are_saved_beside_each_other(tmp_path: Path) -> None:
    given: dict[str, Processor] = {
        role: TextTokenizer(TokenizerFactory.train_word(documents=[text]), role)
        for role, text in TEXTS.items()
    }
    save_processors(given, tmp_path, positions=None)
    found = load_processors(dict.fromkeys(given, TextTokenizer), tmp_path)
    assert {role: each.sha256 for role, each in found.items()} == {
        role: each.sha256 for role, each in given.items()
    }
    assert found["tokenizer"].sha256 != found["target_tokenizer"].sha256
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("tokenizer.json")}
    assert files == {"tokenizer.json", "target_tokenizer/tokenizer.json"}
