"""Experiment files: the YAML dialect, overrides, single sections, and load -> save -> load."""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from model_foundry.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    TokenizerConfig,
    TrainingConfig,
    load_config,
    save_config,
)
from model_foundry.config.overrides import parse_override
from model_foundry.config.yaml_reader import dump_yaml, parse_yaml
from model_foundry.errors import ConfigError, FoundryError
from tests.experiments import apply_override, tiny_experiment

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
GOOD = """
experiment_name: one
data: {train: a.txt}
model: {architecture: gpt2, transformer: {layers: 2, hidden_size: 32, attention_heads: 2}}
training: {max_steps: 5}
"""
QUOTES = "; put it in quotes: '5' (on the command line: \"'5'\")"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides=overrides)
    return str(caught.value)


# --- the dialect ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.0e-3", 1e-3),
        ("-1E+3", -1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", float("-inf")),
        ("0", 0),
        ("-12", -12),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("on", "on"),
        ("NO", "NO"),
        ("tRUE", "tRUE"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("3:20", "3:20"),
        ("2020-01-01", "2020-01-01"),
        ("=", "="),
        ("'1'", "1"),
        ("$HOME", "$HOME"),
        ("runs/${experiment_name}", "runs/${experiment_name}"),
    ],
)
def test_a_scalar_is_what_it_looks_like(text: str, value: Any) -> None:
    read = parse_yaml(f"key: {text}", "text")["key"]
    assert read == value
    assert type(read) is type(value)


def test_what_is_written_reads_back_whatever_the_text() -> None:
    draw = random.Random(0)
    alphabet = "01e.-+_:~ny #'\"\\{}[],&*!|>%@`=<?$\n\t\x00\x85\u2028\ufeffäß👩"
    words = ["1e3", "010", "null", "true", "~", "", "0x1", ".inf", "-", "<<", "a: b", "2020-01-01"]
    for _ in range(2000):
        words.append("".join(draw.choices(alphabet, k=draw.randint(0, 6))))
    for word in words:
        plain = {"key": word, word: [word, 1, 1e-5, None, False]}
        assert parse_yaml(dump_yaml(plain), "text") == plain


# --- refusals -------------------------------------------------------------------------------------


def test_a_byte_order_mark_is_no_part_of_the_file(good: Path, tmp_path: Path) -> None:
    marked = tmp_path / "marked.yaml"
    marked.write_bytes(b"\xef\xbb\xbf" + good.read_bytes())
    assert load_config(marked) == load_config(good)


def test_all_faults_come_at_once(good: Path) -> None:
    text = refusal(
        good,
        "training.learning_rat=1",
        "training.per_device_train_batch_size=0",
        "training.warmup_steps=9",
        "seed=x",
        "tokenizer.tokenizer_type=bpee",
        "model.architecture=gtp2",
        "data.content_tokens=1000",
        "tokenizer.special_tokens.end=<e>",
    )
    fields = [line.removeprefix("override ").partition(":")[0] for line in text.splitlines()]
    assert sorted(fields) == [
        "data.content_tokens",
        "model.architecture",
        "seed",
        "tokenizer.special_tokens.end",
        "tokenizer.tokenizer_type",
        "training.learning_rat",
        "training.per_device_train_batch_size",
        "training.warmup_steps",
    ]


def test_a_fault_is_not_blamed_on_what_follows_from_it(good: Path) -> None:
    for override in ("training.max_steps=-1", "model.transformer.hidden_size=0", "data=5"):
        assert len(refusal(good, override).splitlines()) == 1


# --- overrides ------------------------------------------------------------------------------------


def test_an_override_walks_the_way_of_the_file(good: Path) -> None:
    changes = ["training.learning_rate=1e-2", "data.train=b=c.txt", "tokenizer.vocab_size=99"]
    config = load_config(good, overrides=changes)
    assert config.training.learning_rate == 1e-2
    assert config.data.train == "b=c.txt"
    assert config.tokenizer.vocab_size == 99


def test_the_last_override_wins(good: Path) -> None:
    config = load_config(good, overrides=["training.max_steps=7", "training.max_steps=8"])
    assert config.training.max_steps == 8


def test_one_seed_of_a_file_is_set_apart_from_the_others(good: Path) -> None:
    good.write_text(good.read_text() + "seed: 7\n")
    seeds = load_config(good, overrides=["seed.init=2"]).seeds
    assert (seeds.init, seeds.data, seeds.dropout, seeds.split) == (2, 7, 7, 42)


def test_an_override_may_be_a_mapping() -> None:
    override = parse_override("data.train={language: {sentences: 3}}")
    assert (override.name, override.value) == ("data.train", {"language": {"sentences": 3}})
    raw: dict[str, Any] = {"data": None}
    apply_override(raw, "data.train=a")
    assert raw == {"data": {"train": "a"}}


# --- one section ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "model"),
    [("data", DataConfig), ("model", ModelConfig), ("training", TrainingConfig)],
)
def test_one_section_loads_into_its_class(good: Path, section: str, model: type[BaseModel]) -> None:
    assert load_config(good, section, model) == getattr(load_config(good), section)


def test_a_section_alone_needs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "part.yaml"
    path.write_text("tokenizer: {vocab_size: 77}\nnotes: anything\n")
    assert load_config(path, "tokenizer", TokenizerConfig).vocab_size == 77
    changed = load_config(path, "tokenizer", TokenizerConfig, overrides=["tokenizer.vocab_size=5"])
    assert changed.vocab_size == 5


@pytest.mark.parametrize(
    ("section", "model", "override", "message"),
    [
        ("tokenizer", TokenizerConfig, "seed=1", "tokenizer: is required"),
        ("training", TrainingConfig, "training.epochs=0", "training.epochs: must be > 0, got 0"),
        ("data", DataConfig, "data.train=5", "data.train: must be text, got 5" + QUOTES),
        ("data", DataConfig, "data.train={hub: 5}", "data.train.hub: must be text, got 5" + QUOTES),
        ("data", DataConfig, "data.trian=a", "data.trian: unknown key; did you mean 'train'?"),
        ("data", DataConfig, "data=[1]", "data: must be a mapping, got [1]"),
    ],
)
def test_the_faults_of_a_section_are_named_from_the_root(
    good: Path, section: str, model: type[BaseModel], override: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(good, section, model, overrides=[override])
    place = f"{good}: " if message.endswith("is required") else "override "
    assert str(caught.value) == place + message


# --- load, save, load -----------------------------------------------------------------------------


def reread(config: ExperimentConfig, directory: Path) -> ExperimentConfig:
    path = directory / "saved.yaml"
    path.write_text(save_config(config, ["a note"]), encoding="utf-8")
    return load_config(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_saved_experiment_loads_back_identical(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    again = reread(config, tmp_path)
    assert again == config
    assert save_config(again) == save_config(config)


def test_saved_text_is_plain_yaml_that_others_read_too(good: Path) -> None:
    config = load_config(good, overrides=["seed={init: 1}", "data.train=[ä.txt, b.txt]"])
    assert yaml.safe_load(save_config(config)) == config.model_dump(mode="json")


@pytest.mark.parametrize(
    "override",
    ["experiment_name='1e3'", "experiment_name='007'", "output_dir=' a: b #c'", "data.train=x~"],
)
def test_text_that_looks_like_something_else_stays_text(
    good: Path, tmp_path: Path, override: str
) -> None:
    config = load_config(good, overrides=[override])
    assert reread(config, tmp_path) == config


def test_a_config_error_is_a_value_error_that_exits_with_two() -> None:
    assert issubclass(ConfigError, ValueError) and issubclass(ConfigError, FoundryError)
    assert ConfigError.exit_code == 2


@pytest.mark.parametrize(
    ("own", "overrides", "warmup"),
    [
        ({"max_steps": 1000, "warmup_steps": 100}, ["training.max_steps=20"], 2),
        ({"max_steps": 1000, "warmup_steps": 100}, ["training.max_steps=1"], 0),
        ({"max_steps": 1000, "warmup_steps": 100}, ["training.max_steps=100"], 100),
        (
            {"epochs": 3, "warmup_steps": 100},
            ["training.epochs=null", "training.max_steps=20"],
            2,
        ),
        # a file that contradicts itself, and a warm-up that was asked for
        ({"max_steps": 50, "warmup_steps": 100}, ["training.max_steps=20"], None),
        ({"max_steps": 50, "warmup_steps": 100}, [], None),
        (
            {"max_steps": 1000, "warmup_steps": 100},
            ["training.max_steps=20", "training.warmup_steps=100"],
            None,
        ),
        ({"max_steps": 1000, "warmup_steps": 10}, ["training.warmup_steps=2000"], None),
        (
            {"max_steps": 1000, "warmup_steps": 10},
            ["training={max_steps: 5, warmup_steps: 9}"],
            None,
        ),
        ({"max_steps": 1000, "warmup_steps": 10}, ["training={max_steps: 5}"], 0),
    ],
)
def test_a_warmup_is_cut_for_a_run_that_the_command_line_made_short(
    own: dict[str, int],
    overrides: list[str],
    warmup: int | None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw = tiny_experiment("lstm", tmp_path).model_dump(mode="json", exclude_unset=True)
    raw["training"] = own
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump(raw))
    if warmup is None:
        with pytest.raises(ConfigError, match=r"training\.warmup_steps: must be <= training\.max"):
            load_config(path, overrides=overrides)
        assert caplog.messages == []
        return
    assert load_config(path, overrides=overrides).training.warmup_steps == warmup
    is_cut = warmup < own["warmup_steps"] and not overrides[0].startswith("training={")
    assert [line.split(",")[0] for line in caplog.messages] == (
        [f"training.warmup_steps: 100 -> {warmup}"] if is_cut else []
    )
