"""`${...}` and `???`: other keys, the environment, and what stays unexpanded where it is saved."""

import json
import pickle
import traceback
from pathlib import Path

import pytest
from pydantic import BaseModel

from model_foundry.config import (
    ExperimentConfig,
    TokenizerConfig,
    checked_again,
    load_config,
    read_saved_config,
    save_config,
)
from model_foundry.config.expressions import escape, parse_expressions
from model_foundry.config.yaml_reader import dump_yaml
from model_foundry.errors import ConfigError
from model_foundry.training.run_fingerprint import as_settings, changed_settings
from tests.experiments import MODELS

RAW = {
    "experiment_name": "one",
    "data": {"train": "a.txt", "max_sequence_length": 16},
    "model": MODELS["lstm"],
    "training": {"max_steps": 5},
}
SECRET = "geheim-4711"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Load an experiment with other values for some keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("DIGITS", "007")
    monkeypatch.setenv("NUMBER", "7")
    monkeypatch.delenv("UNSET", raising=False)

    def load(*overrides: str) -> ExperimentConfig:
        path = tmp_path / "one.yaml"
        path.write_text(dump_yaml(RAW))
        return load_config(path, overrides=overrides)

    return load


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "value"),
    [
        # other keys keep their types, given or not
        ("training.warmup_steps=${training.max_steps}", 5),
        ("training.weight_decay=${training.min_learning_rate}", 0.0),
        ("training.eval_steps=${training.save_steps}", None),
        ("data.validation=${data.train}", "a.txt"),
        ("output_dir=runs/${experiment_name}-${seed}", "runs/one-42"),
        ("output_dir=${training.adam_beta1}/${training.speed.loss_without_logits}", "0.9/true"),
        ("output_dir=a/${model.rnn.num_layers}x${model.rnn.hidden_size}", "a/2x32"),
        # literal text
        ("output_dir=a/$${seed}", "a/${seed}"),
        ("output_dir=a/$$${seed}", "a/$${seed}"),
        ("output_dir=a/$seed}", "a/$seed}"),
        # the environment
        ("experiment_name=${DIGITS}", "007"),
        ("experiment_name=${NUMBER}", "7"),
        ("experiment_name=x${NUMBER}", "x7"),
        ("training.max_steps=${NUMBER}", 7),
        ("training.max_steps=${UNSET:9}", 9),
        ("training.max_steps=${oc.env:UNSET,9}", 9),
        ("training.learning_rate=${UNSET:1e-2}", 0.01),
        ("training.gradient_checkpointing=${UNSET:true}", True),
        ("training.eval_steps=${UNSET:}", None),
        ("training.eval_steps=${UNSET:null}", None),
        ("data.validation=${UNSET:null}", None),
        ("data.validation=${UNSET:a b.txt}", "a b.txt"),
        ("data.validation=${UNSET:'1'}", "1"),
        ("output_dir=${UNSET:runs}/${TOKEN}", f"runs/{SECRET}"),
        ("tokenizer.special_tokens.pad='${NUMBER}'", "7"),
    ],
)
def test_an_expression_comes_to_a_value(override, value, load):
    key = override.partition("=")[0]
    plain = load(override).model_dump(mode="json")
    for part in key.split("."):
        plain = plain[part]
    assert plain == value
    assert type(plain) is type(value)


def test_an_entry_of_a_list_and_a_whole_section_can_be_named(load):
    config = load("data.train=[a.txt, b.txt]", "data.validation=${data.train.1}")
    assert config.data.validation == "b.txt"
    config = load("data.train={hub: a/b, split: x}", "data.validation=${data.train}")
    assert config.data.validation == config.data.train


def test_keys_may_lead_to_keys_and_the_order_does_not_matter(load):
    config = load(
        "output_dir=${experiment_name}/x",
        "experiment_name=e-${training.warmup_steps}",
        "training.warmup_steps=${training.max_steps}",
        "training.max_steps=${NUMBER}",
    )
    assert str(config.output_dir) == "e-7/x"


def test_a_value_is_that_after_composition_and_overrides(load, tmp_path):
    (tmp_path / "base.yaml").write_text(dump_yaml({**RAW, "output_dir": "r/${training.max_steps}"}))
    (tmp_path / "child.yaml").write_text("extends: base.yaml\ntraining: {max_steps: 8}")
    assert str(load_config("child.yaml").output_dir) == "r/8"
    overrides = ["training.max_steps=9"]
    assert str(load_config("child.yaml", overrides=overrides).output_dir) == "r/9"


def test_a_section_alone_needs_only_its_own_values(load, tmp_path):
    text = "seed: ???\nnotes: ${UNSET}\nsize: 77\ntokenizer: {vocab_size: '${size}'}"
    (tmp_path / "part.yaml").write_text(text)
    assert load_config("part.yaml", "tokenizer", TokenizerConfig).vocab_size == 77


@pytest.mark.parametrize("text", ["", "a", "${", "$${", "$$${a}", "a${b}$${c}$", "}{$"])
def test_what_is_escaped_is_read_as_it_was(text):
    assert "".join(parse_expressions(escape(text))) == text


def test_texts_that_double_each_other_are_refused(load):
    lines = [f"data.train.{n}" for n in range(40)]
    entries = ["'xx'", *(f"'${{{line}}}${{{line}}}'" for line in lines)]
    with pytest.raises(ConfigError, match="comes to more than 100,000 characters"):
        load(f"data.train=[{', '.join(entries)}]")


def test_sections_that_double_each_other_are_refused(load):
    entries = [
        "{source: a}",
        *(f"['${{data.train.{n}}}', '${{data.train.{n}}}']" for n in range(40)),
    ]
    with pytest.raises(ConfigError, match=r"copy more than|reached by more than"):
        load(f"data.train=[{', '.join(entries)}]")


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        (["seed=7", "experiment_name=run-${seed.init}"], "experiment_name", "run-7"),
        (["seed=7", "experiment_name=run-${seed.split}"], "experiment_name", "run-42"),
        (["seed=${NUMBER}", "experiment_name=run-${seed.data}"], "experiment_name", "run-7"),
        (
            [
                "data.train={language: {sentences: 5, seed: 1}}",
                "data.validation=${data.train}",
                "seed=${data.validation.language.seed}",
            ],
            "seed",
            1,
        ),
    ],
)
def test_a_reference_may_lead_through_one_seed_and_through_expressions(overrides, key, value, load):
    assert getattr(load(*overrides), key) == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [("a.txt", "a single value"), ("null", "null"), ("${TOKEN}", "a single value")],
)
def test_a_reference_below_a_single_value_is_refused(value, kind, load):
    with pytest.raises(ConfigError) as caught:
        load(f"data.validation={value}", "seed=${data.validation.language.seed}")
    assert f"data.validation is {kind}, which has no keys" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_limit_that_depends_on_another_setting_must_be_given_to_be_named(load):
    with pytest.raises(ConfigError, match="max_grad_norm is not given; give it a value"):
        load("training.max_grad_value=1.0", "training.learning_rate=${training.max_grad_norm}")


# --- what is saved --------------------------------------------------------------------------------

PRIVATE = (
    *("data.train=${TOKEN}/${UNSET:a}.txt", "data.validation=x-${data.train}"),
    *("output_dir=$${a}/${TOKEN}", "tokenizer.special_tokens={pad: '<${TOKEN}>'}"),
    "data.test=[b.txt, '${TOKEN}']",
)


def test_text_from_the_environment_is_saved_unexpanded(load, tmp_path, monkeypatch):
    config = load(*PRIVATE)
    saved = save_config(config)
    assert SECRET not in saved
    for line in (
        *("  train: ${TOKEN}/${UNSET:a}.txt", "  validation: x-${TOKEN}/${UNSET:a}.txt"),
        *("output_dir: $${a}/${TOKEN}", "    pad: <${TOKEN}>", "  - ${TOKEN}"),
    ):
        assert f"{line}\n" in saved
    (tmp_path / "saved.yaml").write_text(saved)
    assert load_config("saved.yaml") == config
    assert save_config(load_config("saved.yaml")) == saved
    assert save_config(read_saved_config("saved.yaml")) == saved
    monkeypatch.delenv("TOKEN")
    read = read_saved_config("saved.yaml")
    assert (read.data.train, read.model) == ("${TOKEN}/a.txt", config.model)
    assert save_config(read) == saved
    with pytest.raises(ConfigError, match="this variable of the environment is not set"):
        load_config("saved.yaml")


def test_copies_keep_the_secret_and_what_a_program_sets_is_saved(load):
    config = load(*PRIVATE)
    again = pickle.loads(pickle.dumps(config))
    for copy in (config.model_copy(deep=True), again, checked_again(config)):
        assert SECRET not in save_config(copy)
    config.data.train = "new.txt"
    assert config.recorded()["data"]["train"] == "new.txt"


def test_numbers_and_names_of_known_things_are_saved_with_a_note(load, tmp_path, monkeypatch):
    monkeypatch.setenv("KIND", "bpe")
    config = load(
        *("training.max_steps=${NUMBER}", "tokenizer.tokenizer_type=${KIND}"),
        *("training.optimizer=${UNSET:sgd}", "model.architecture=${UNSET:lstm}"),
    )
    saved = save_config(config, ["a note"])
    assert saved.startswith(
        "# a note\n# model.architecture: from ${UNSET:lstm}\n"
        "# training.max_steps: from ${NUMBER}\n# training.optimizer: from ${UNSET:sgd}\n"
        "# tokenizer.tokenizer_type: from ${KIND}\n"
    )
    (tmp_path / "saved.yaml").write_text(saved)
    monkeypatch.delenv("KIND")
    monkeypatch.setenv("NUMBER", "8")
    assert read_saved_config("saved.yaml") == load_config("saved.yaml") == config


def test_literal_text_of_a_program_is_escaped(load, tmp_path):
    config = load()
    config.data.train = "a/${seed}.txt"
    (tmp_path / "saved.yaml").write_text(save_config(config))
    assert load_config("saved.yaml") == config


# --- what resuming compares -----------------------------------------------------------------------


def test_a_fingerprint_has_the_expression_and_sees_another_value(load, monkeypatch):
    overrides = ["data.text_column=${TOKEN}", "output_dir=${TOKEN}", "training.max_steps=${NUMBER}"]
    before = as_settings(load(*overrides))
    assert SECRET not in json.dumps(before)
    assert before["output_dir"] == "${TOKEN}"
    assert before["data"]["text_column"].startswith("${TOKEN} (SHA-256 ")
    assert before["training"]["max_steps"] == 7
    assert changed_settings(before, as_settings(load(*overrides))) == []
    monkeypatch.setenv("TOKEN", "another one")
    (change,) = changed_settings(before, as_settings(load(*overrides)))
    assert change.startswith("data.text_column: ${TOKEN} (SHA-256 ")
    assert "another one" not in change


# --- messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["seed=${TOKEN}"], "override seed: must be an integer, got ${TOKEN}"),
        (["data.train={hub: 5, name: '${TOKEN}'}"], "override data.train.hub: must be text, got 5"),
        (["data={trian: '${TOKEN}'}"], "override data.trian: unknown key; did you mean 'train'?"),
        (["training=[1, '${TOKEN}']"], "override training: must be a mapping, got ${TOKEN}"),
        (
            ["training.epochs=${NUMBER}"],
            "override training.epochs: (=${NUMBER}) and training.max_steps (=5) both set",
        ),
        (
            ["training.metrics=['${TOKEN}']"],
            "override training.metrics: Unknown metric: '${TOKEN}'",
        ),
    ],
)
def test_a_message_names_the_expression_and_not_the_value(overrides, line, load):
    with pytest.raises(ConfigError) as caught:
        load(*overrides)
    assert any(each.startswith(line) for each in str(caught.value).splitlines()), caught.value
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_the_traceback_of_a_section_alone_hides_it_too(load, tmp_path):
    class Small(BaseModel):
        number: int

    (tmp_path / "part.yaml").write_text("part: {number: '${TOKEN}'}")
    with pytest.raises(ConfigError, match=r"part\.yaml:1: part\.number: ") as caught:
        load_config("part.yaml", "part", Small)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
