"""Code beside a model or tokenizer is never run, and nobody is asked whether it may."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_foundry.cli import main
from model_foundry.model import load_model
from model_foundry.tokenizer.loading import load_tokenizer
from tests.hostile.directories import change, refusal

CODE = """
from pathlib import Path
from transformers import GPT2Config as Config, GPT2LMHeadModel as Model, GPT2Tokenizer as Tokenizer
Path({sentinel!r}).touch()
"""
MODEL_CODE = {
    "AutoConfig": "evil.Config",
    "AutoModel": "evil.Model",
    "AutoModelForCausalLM": "evil.Model",
}


@pytest.fixture
def sentinel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that `evil.py` would create."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "ran"
    assert not (tmp_path / "ran").exists()
    assert "evil" not in sys.modules


def plant(directory: Path, sentinel: Path) -> None:
    for place in (directory, directory / "question_encoder_tokenizer"):
        place.mkdir(exist_ok=True)
        (place / "evil.py").write_text(CODE.format(sentinel=str(sentinel)))


@pytest.mark.parametrize("model_type", ["evil", "llama", None, 3, "os:system", "evil\nname"])
def test_an_unknown_model_with_code_is_refused_without_asking(
    model_type: object, fresh: Callable[[str], Path], sentinel: Path
) -> None:
    directory = fresh("transformer")
    plant(directory, sentinel)
    change(directory / "config.json", model_type=model_type, auto_map=MODEL_CODE)
    assert "code of a model directory (auto_map) is never run" in refusal("transformer", directory)


def test_the_command_line_refuses_it_with_one_line(
    fresh: Callable[[str], Path],
    sentinel: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = fresh("transformer")
    plant(directory, sentinel)
    change(directory / "config.json", model_type="evil", auto_map=MODEL_CODE)
    monkeypatch.setattr(sys, "argv", ["foundry", "generate", str(directory)])
    logger = logging.getLogger("model_foundry")  # the command line sets it up for itself
    for name in ("handlers", "level", "propagate"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "is never run" in err


def test_code_beside_a_known_model_is_not_run_and_not_passed_on(
    fresh: Callable[[str], Path], sentinel: Path, tmp_path: Path
) -> None:
    directory = fresh("transformer")
    plant(directory, sentinel)
    change(directory / "config.json", auto_map=MODEL_CODE)
    load_model(directory).save_pretrained(tmp_path / "again")
    assert "evil" not in (tmp_path / "again" / "config.json").read_text()


@pytest.mark.parametrize(
    "auto_map",
    [
        {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]},
        ["evil.Tokenizer", None],
        {"AutoTokenizer": ["evil/repository--evil.Tokenizer", None]},
        "evil.Tokenizer",
    ],
)
def test_a_tokenizer_with_code_is_refused_without_asking(
    auto_map: object, fresh: Callable[[str], Path], sentinel: Path
) -> None:
    directory = fresh("tokenizer")
    plant(directory, sentinel)
    change(directory / "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Tokenizer")
    message = refusal("tokenizer", directory)
    assert "code of a tokenizer directory is never run" in message


@pytest.mark.parametrize(
    "name",
    ["AutoTokenizer", "AutoModel", "RagTokenizer", "pipeline", "evil.Tokenizer", "os:system", 3],
)
@pytest.mark.parametrize("place", ["tokenizer_config.json", "config.json"])
def test_the_class_of_a_tokenizer_is_no_way_to_code(
    name: object, place: str, fresh: Callable[[str], Path], sentinel: Path
) -> None:
    directory = fresh("tokenizer")
    expected = load_tokenizer(directory)("a cat")
    plant(directory, sentinel)
    change(directory / "config.json", model_type="rag", auto_map=MODEL_CODE)
    inner = directory / "question_encoder_tokenizer"
    change(inner / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})
    change(directory / place, tokenizer_class=name)
    assert load_tokenizer(directory)("a cat") == expected
