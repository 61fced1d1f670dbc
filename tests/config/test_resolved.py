"""The final file: whole, with the origin of each value, and loading back to the same experiment."""

import re
from pathlib import Path

import pytest
import yaml

from model_foundry.config import load_config
from model_foundry.config.groups import GROUPS
from model_foundry.config.resolved import resolved_lines
from model_foundry.config.shipped import shipped_configs
from tests.config.conftest import Foundry

CONFIGS = shipped_configs()
SHIPPED = [(path, []) for path in sorted(CONFIGS.glob("*.yaml"))]
GIVEN = {"text_files": ["data.train=a.txt"], "hub": ["data.train.hub=owner/name"]}
# a group of every kind, on the file of the language
CHOSEN = [
    (
        CONFIGS / "quickstart.yaml",
        [
            f"{group}={path.stem}",
            *GIVEN.get(path.stem, []),
            *(["experiment=masked_lm"] if path.stem.startswith("bert") else []),
            *(["model=bert_tiny"] if path.stem == "masked_lm" else []),
        ],
    )
    for group in GROUPS
    if group != "debug"
    for path in sorted((CONFIGS / group).glob("*.yaml"))
]
ORIGIN = re.compile(
    r"  # (\$\{.*\}.*, )?(default|override|program|(group |shipped )?[\w./-]+\.yaml:[1-9][0-9]*)$"
)


def text_of(path: Path | str, *overrides: str) -> str:
    return "\n".join(resolved_lines(load_config(path, overrides=overrides))) + "\n"


@pytest.mark.parametrize(
    ("path", "overrides"), [*SHIPPED, *CHOSEN], ids=lambda each: str(getattr(each, "stem", each))
)
def test_it_loads_back_and_every_value_has_an_origin(path, overrides, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = text_of(path, *overrides)
    (tmp_path / "again.yaml").write_text(text)
    config = load_config(path, overrides=overrides)
    assert load_config("again.yaml") == config
    assert yaml.safe_load(text) == config.model_dump(mode="json")
    lines = text.splitlines()
    values = [line for line in lines if not line.endswith(":")]
    assert all(ORIGIN.search(line) for line in values), values
    assert max(map(len, lines)) <= 100
    assert "program" not in text


@pytest.fixture
def child(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CORPUS", "corpus.txt")
    monkeypatch.setenv("STEPS", "7")
    (here / "model").mkdir()
    (here / "model" / "own.yaml").write_text(
        "model:\n  architecture: lstm\n  rnn: {embedding_size: 8, hidden_size: 8}\n"
    )
    (here / "child.yaml").write_text(
        "extends: good.yaml\n"
        "data:\n"
        "  train: ['${CORPUS}', other.txt]\n"
        "  interventions:\n"
        "    - lowercase\n"
        "    - {step: replace, pattern: a, by: b}\n"
        "output_dir: runs/${experiment_name}\n"
        "training: {max_steps: '${STEPS}', milestones: {steps: [1, 2]}}\n"
    )
    return "child.yaml"


def test_each_kind_of_origin(child: str) -> None:
    text = text_of(child, "model=own", "seed.init=3", "+training.milestones.steps=9")
    for line in (
        "experiment_name: one # good.yaml:2",
        "  init: 3 # override",
        "  data: 42 # default",
        "output_dir: runs/one # runs/${experiment_name}, child.yaml:7",
        "  - '${CORPUS}' # ${CORPUS}, child.yaml:3",
        "  - other.txt # child.yaml:3",
        "  - step: lowercase # child.yaml:5",
        "    splits: [train, validation, test] # default",
        "    pattern: a # child.yaml:6",
        "  document: line # good.yaml:3",
        "  architecture: lstm # group model/own.yaml:2",
        "    hidden_size: 8 # group model/own.yaml:3",
        "  max_steps: 7 # ${STEPS}, child.yaml:8",
        "    - 2 # child.yaml:8",
        "    - 9 # override",
    ):
        assert line in re.sub(r" +#", " #", text).splitlines(), line


def test_a_default_that_follows_from_another_setting_is_shown_as_a_default(here: Path) -> None:
    lines = text_of("good.yaml", "training.max_grad_value=1.0").splitlines()
    assert "  max_grad_norm: null # default" in [re.sub(r" +#", " #", line) for line in lines]


def test_the_comments_stand_below_each_other(child: str) -> None:
    columns = [line.index("  # ") for line in text_of(child).splitlines() if "  # " in line]
    assert len(set(columns)) == 1


def test_what_a_program_sets_is_marked(child: str) -> None:
    config = load_config(child)
    config.training.learning_rate = 0.5
    config.data.train = ["a.txt"]
    lines = [re.sub(r" +#", " #", line) for line in resolved_lines(config)]
    assert "  learning_rate: 0.5 # program" in lines
    assert "  train: [a.txt] # program" in lines


def test_the_command_prints_a_file_and_nothing_else(child: str, foundry: Foundry, here) -> None:
    ended = foundry("validate", child, "tokenizer.lowercase=true", "--resolved")
    assert ended.code == 0
    assert ended.err.startswith("warning: tokenizer.lowercase has no effect")
    (here / "again.yaml").write_text(ended.out)
    assert load_config("again.yaml") == load_config(child, overrides=["tokenizer.lowercase=true"])
