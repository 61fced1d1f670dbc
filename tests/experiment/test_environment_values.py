"""A run with values from the environment: nothing of them on disk, and read without them."""

from pathlib import Path

import pytest

from model_foundry import load_config, train
from model_foundry.config import save_config
from model_foundry.errors import ConfigError, ResumeError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.model import load_model
from tests.cli.conftest import Cli
from tests.cli.conftest import cli as cli
from tests.cli.conftest import here as here
from tests.experiments import tiny_experiment

pytestmark = pytest.mark.slow

PAD, PLACE = "<geheim-4711>", "secret-place"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment whose corpus, padding and length come from the environment."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / PLACE).mkdir()
    text = "".join(f"a line of {number} words, and more\n" for number in range(400))
    (tmp_path / PLACE / "corpus.txt").write_text(text)
    (tmp_path / "base.yaml").write_text(save_config(tiny_experiment("lstm", Path("one"))))
    (tmp_path / "child.yaml").write_text(
        "extends: base.yaml\n"
        "data: {train: '${PLACE}/corpus.txt', document: line}\n"
        "tokenizer: {special_tokens: {pad: '${PAD}'}}\n"
        "training: {max_steps: '${STEPS}'}\n"
    )
    for name, value in (("PAD", PAD), ("PLACE", PLACE), ("STEPS", "4")):
        monkeypatch.setenv(name, value)
    return tmp_path / "child.yaml"


def test_a_run_keeps_the_expressions(
    file: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDirectory(train(file).model_dir.parent)
    saved = run.config_file.read_text()
    assert "# training.max_steps: from ${STEPS}\n" in saved
    assert "  train: ${PLACE}/corpus.txt\n" in saved and "    pad: ${PAD}\n" in saved
    written = [path for path in run.path.rglob("*") if path.is_file()]
    # the tokenizer has its own tokens
    settings = [path for path in written if "token" not in path.name]
    assert [path for path in settings if PAD.encode() in path.read_bytes()] == []
    assert [path for path in written if PLACE.encode() in path.read_bytes()] == []

    for name in ("PAD", "PLACE", "STEPS"):
        monkeypatch.delenv(name)
    assert run.config().training.max_steps == 4
    assert load_model(run.path).get_parameter_count() > 0
    assert cli("generate", str(run.path), "--prompt", "a", "--max-new-tokens", "2")[0] == 0
    with pytest.raises(ConfigError, match=r"child\.yaml:4: training\.max_steps: \${STEPS}: this"):
        load_config(file)


def test_a_changed_variable_is_a_changed_setting(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = train(file)
    monkeypatch.setenv("PLACE", "moved")
    (tmp_path / PLACE).rename(tmp_path / "moved")
    assert train(file).step == first.step  # the same text elsewhere is the same text
    monkeypatch.setenv("PAD", "<other>")
    with pytest.raises(ResumeError, match=r"pad: \${PAD} \(SHA-256 \w+\) -> \${PAD}") as caught:
        train(file)
    assert "<other>" not in str(caught.value) and PAD not in str(caught.value)
