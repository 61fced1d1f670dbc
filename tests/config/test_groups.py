"""Groups: files that the command line chooses by name."""

from itertools import chain
from pathlib import Path

import pytest

from model_foundry.config import load_config, settings_without_effect
from model_foundry.config.groups import GROUPS
from model_foundry.config.shipped import shipped_configs

CONFIGS = shipped_configs()
ON_TEXT = [CONFIGS / f"{name}.yaml" for name in ("quickstart", "tiny_lstm", "gpt2_small", "rnn")]
SHIPPED = {group: sorted((CONFIGS / group).glob("*.yaml")) for group in GROUPS}
SOURCES = {"text_files": ["data.train=a.txt"], "hub": ["data.train.hub=owner/name"]}
GOOD = """
experiment_name: one
data: {train: a.txt}
model: {architecture: gpt2, transformer: {layers: 2, hidden_size: 32, attention_heads: 2}}
training: {objective: causal_lm, max_steps: 50, warmup_steps: 3, losses: {z_loss: 1e-4}}
"""
LSTM = "model: {architecture: lstm, rnn: {embedding_size: 9, hidden_size: 9}}"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with an experiment in `work/exp/one.yaml`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work" / "exp").mkdir(parents=True)
    (tmp_path / "work" / "exp" / "one.yaml").write_text(GOOD)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def load(*overrides: str):
    return load_config("work/exp/one.yaml", overrides=overrides)


def test_a_group_replaces_its_section(here):
    config = load("model=lstm_medium", "model.rnn.dropout=0.1")
    assert config.model.transformer is None
    assert (config.model.architecture, config.model.rnn.hidden_size) == ("lstm", 650)
    assert config.model.rnn.dropout == 0.1  # a dotted override comes after groups, ...
    assert load("model.rnn.dropout=0.1", "model=lstm_medium") == config  # ... wherever it stands


def test_a_value_of_a_group_knows_its_file_and_line(here):
    found = {name: origin for name, _, origin in load("model=gru_small").with_origins()}
    assert found["model.architecture"].group == "model/gru_small.yaml"
    assert found["model.architecture"].line == 5
    assert str(found["model.rnn.hidden_size"]).endswith("model/lstm_small.yaml:5")


def test_a_trainer_leaves_what_is_learned(here):
    training = load("trainer=quick").training
    assert (training.max_steps, training.warmup_steps) == (200, 20)
    assert training.losses == {"z_loss": 1e-4}
    write(here / "work" / "trainer" / "own.yaml", "training: {max_steps: 7, losses: {}}")
    training = load("trainer=own").training
    assert (training.max_steps, training.warmup_steps, training.losses) == (7, 0, {})


@pytest.mark.parametrize("place", ["work/exp", "work", "configs"])
def test_groups_are_looked_for_near_the_experiment_first(here, place):
    write(here / place / "model" / "lstm_medium.yaml", LSTM)
    assert load("model=lstm_medium").model.rnn.hidden_size == 9
    write(here / "work" / "exp" / "model" / "lstm_medium.yaml", LSTM.replace("9", "5"))
    assert load("model=lstm_medium").model.rnn.hidden_size == 5


def test_the_directory_above_that_of_a_bare_file_is_looked_at(here, monkeypatch):
    write(here / "work" / "model" / "own.yaml", LSTM)
    monkeypatch.chdir(here / "work" / "exp")
    assert load_config("one.yaml", overrides=["model=own"]).model.rnn.hidden_size == 9


def test_an_experiment_is_laid_over_and_debug_over_that(here):
    write(here / "configs" / "experiment" / "own.yaml", "seed: 5\ntraining: {max_steps: 8}")
    write(here / "configs" / "debug" / "own.yaml", "training: {max_steps: 4}")
    config = load("debug=own", "experiment=own", "trainer=quick")
    assert (config.seed, config.training.max_steps) == (5, 4)
    assert config.training.eval_steps == 100


def test_a_group_may_extend_another_file_and_its_suffix_may_be_given(here):
    write(here / "configs" / "model" / "base.yaml", LSTM)
    text = "extends: base.yaml\nmodel: {rnn: {hidden_size: 3}}"
    write(here / "configs" / "model" / "own.yaml", text)
    rnn = load("model=own.yaml").model.rnn
    assert (rnn.embedding_size, rnn.hidden_size) == (9, 3)


def test_the_last_of_several_counts(here):
    assert load("model=gpt2_small", "model=lstm_small").model.architecture == "lstm"


def test_presets_are_not_mixed_and_experiments_are_laid_over_each_other(here):
    for name, text in (("a", "{max_steps: 7, epochs: null}"), ("b", "{logging_steps: 9}")):
        for group in ("debug", "experiment"):
            write(here / "work" / "exp" / group / f"{name}.yaml", f"training: {text}")
    preset, experiment = (load(f"{group}=a", f"{group}=b") for group in ("debug", "experiment"))
    assert (preset.training.max_steps, preset.training.logging_steps) == (50, 9)
    assert (experiment.training.max_steps, experiment.training.logging_steps) == (7, 9)


def test_a_mapping_is_no_name_of_a_group(here):
    assert load(f"model={LSTM.removeprefix('model: ')}").model.architecture == "lstm"


@pytest.mark.parametrize("path", ON_TEXT, ids=lambda path: path.stem)
@pytest.mark.parametrize("trainer", SHIPPED["trainer"], ids=lambda path: path.stem)
def test_every_shipped_file_loads_with_each_other(path, trainer):
    for model in SHIPPED["model"]:
        task = ["experiment=masked_lm"] if model.stem.startswith("bert") else []
        for data in SHIPPED["data"]:
            groups = [f"model={model.stem}", f"data={data.stem}", f"trainer={trainer.stem}"]
            overrides = [*groups, *task, *SOURCES.get(data.stem, [])]
            config = load_config(path, overrides=overrides)
            assert settings_without_effect(config) == [], overrides


@pytest.mark.parametrize("path", [*SHIPPED["tokenizer"], *SHIPPED["experiment"]], ids=str)
def test_every_shipped_tokenizer_and_experiment_loads(path):
    overrides = [f"{path.parent.name}={path.stem}", "model=bert_tiny", "experiment=masked_lm"]
    config = load_config(CONFIGS / "quickstart.yaml", overrides=overrides)
    assert settings_without_effect(config) == []


def test_every_shipped_file_begins_with_a_comment_and_each_group_has_one():
    files = [*chain.from_iterable(SHIPPED.values())]
    assert all(path.read_text().startswith("# ") for path in files)
    assert all(SHIPPED[group] for group in GROUPS if group != "debug")
