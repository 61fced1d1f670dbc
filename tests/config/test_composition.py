"""Files that extend others: what comes from where, and in which order."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import load_config
from model_foundry.config.composition import MOST_FILES, compose_file
from model_foundry.errors import ConfigError

BASE = """\
experiment_name: base
seed: 3
data: {train: {language: {sentences: 50, seed: 1}}, max_sequence_length: 16}
tokenizer: {vocab_size: 90}
model:
  architecture: lstm
  rnn: {embedding_size: 8, hidden_size: 8}
training:
  max_steps: 5
  losses: {z_loss: 1e-4}
  metrics: [loss, accuracy]
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Write a file beside `base.yaml` in the current directory; return its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)

    def write(name: str, text: str) -> str:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        return name

    return write


Write = Callable[[str, str], str]


def composed(path: str) -> dict[str, Any]:
    return compose_file(path).data


def test_mappings_merge_and_all_else_is_replaced(write: Write) -> None:
    child = "extends: base.yaml\nexperiment_name: child\ntraining: {max_steps: 9, metrics: [loss]}"
    config = load_config(write("child.yaml", child))
    assert config.experiment_name == "child"
    assert config.training.max_steps == 9
    assert config.training.metrics == ["loss"]
    assert config.training.losses == {"z_loss": 1e-4}
    assert config.model == load_config("base.yaml").model


def test_each_value_keeps_the_file_and_line_that_gave_it(write: Write) -> None:
    text = "experiment_name: child\nextends: ../base.yaml\ntraining:\n  metrics: [loss]\n"
    config = load_config(write("sub/child.yaml", text))
    origins = {name: str(origin) for name, _, origin in config.with_origins()}
    assert origins["experiment_name"] == "sub/child.yaml:1"
    assert origins["training.metrics"] == "sub/child.yaml:4"
    assert origins["training.max_steps"] == "sub/../base.yaml:9"
    assert origins["training.losses.z_loss"] == "sub/../base.yaml:10"
    assert origins["training.learning_rate"] == "default"


def test_later_files_win_and_the_file_itself_last(write: Write) -> None:
    write("a.yaml", "training: {max_steps: 1, warmup_steps: 1}\nseed: 1")
    write("b.yaml", "extends: base.yaml\ntraining: {max_steps: 2}")
    child = write("child.yaml", "extends: [b.yaml, a.yaml]\nseed: 9")
    assert composed(child)["training"] == {
        **{"max_steps": 1, "losses": {"z_loss": 1e-4}, "metrics": ["loss", "accuracy"]},
        "warmup_steps": 1,
    }
    assert composed(child)["seed"] == 9


def test_a_file_may_be_reached_by_two_ways(write: Write) -> None:
    write("a.yaml", "extends: base.yaml\nseed: 4")
    write("b.yaml", "extends: base.yaml\ntokenizer: {vocab_size: 91}")
    data = composed(write("child.yaml", "extends: [a.yaml, b.yaml]"))
    assert (data["seed"], data["tokenizer"]["vocab_size"]) == (3, 91)  # b.yaml repeats the seed


def test_null_removes_a_section_and_stays_null_elsewhere(write: Write) -> None:
    data = composed(
        write(
            "child.yaml",
            "extends: base.yaml\ntokenizer: null\ntraining: {losses: null, max_steps: null}",
        )
    )
    assert "tokenizer" not in data
    assert data["training"] == {"max_steps": None, "metrics": ["loss", "accuracy"]}


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("corpus.txt", "corpus.txt"),
        ("{hub: a/b}", {"hub": "a/b"}),
        ("{mixture: [{source: a.txt}]}", {"mixture": [{"source": "a.txt"}]}),
        ("{language: {sentences: 9}}", {"language": {"sentences": 9, "seed": 1}}),
    ],
)
def test_a_source_of_another_kind_is_replaced_whole(
    train: str, expected: object, write: Write
) -> None:
    child = write("child.yaml", f"extends: base.yaml\ndata: {{train: {train}}}")
    assert composed(child)["data"] == {"train": expected, "max_sequence_length": 16}


def test_a_setting_of_a_source_is_laid_over_whatever_kind_there_is(write: Write) -> None:
    write("base.yaml", BASE.replace("{language: {sentences: 50, seed: 1}}", "{disk: a}"))
    child = write("child.yaml", "extends: base.yaml\ndata: {train: {split: test}}")
    assert composed(child)["data"]["train"] == {"disk": "a", "split": "test"}


def test_one_seed_below_is_set_apart(write: Write) -> None:
    config = load_config(write("child.yaml", "extends: base.yaml\nseed: {init: 7}"))
    assert config.seeds.model_dump() == {"split": 42, "init": 7, "data": 3, "dropout": 3}
    origins = {name: str(origin) for name, _, origin in config.with_origins()}
    assert origins["seed.init"] == "child.yaml:2"
    assert origins["seed.data"] == "base.yaml:2"
    again = load_config(write("again.yaml", "extends: child.yaml\nseed: 5"))
    assert set(again.seeds.model_dump().values()) == {5, 42}


def test_a_shipped_file_is_extended_by_its_name(write: Write) -> None:
    config = load_config(write("child.yaml", "extends: tiny_lstm.yaml\nexperiment_name: mine"))
    assert (config.experiment_name, config.model.architecture) == ("mine", "lstm")
    write("tiny_lstm.yaml", BASE)  # one beside the file comes first
    assert load_config("child.yaml").data.max_sequence_length == 16


def test_a_home_directory_is_expanded(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    child = write("sub/child.yaml", "extends: ~/base.yaml")
    assert composed(child) == composed("base.yaml")
    assert composed("~/sub/child.yaml") == composed("base.yaml")


def test_files_that_double_each_other_end_soon(write: Write) -> None:
    for number in range(30):
        write(f"{number}.yaml", f"extends: [{number + 1}.yaml, {number + 1}.yaml]")
    write("30.yaml", BASE)
    with pytest.raises(ConfigError, match=f"extends: leads to more than {MOST_FILES} files"):
        load_config("0.yaml")
