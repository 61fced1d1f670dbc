"""Origins: each value knows its line, its override, its default, or that a program set it."""

import pickle
from pathlib import Path

import pytest

from model_foundry.config import ExperimentConfig, checked_again, load_config, save_config
from model_foundry.config.origins import Origin
from model_foundry.config.yaml_reader import LONGEST_PATH, parse_with_places
from model_foundry.errors import ConfigError
from model_foundry.experiment.auto_settings import resolve_auto_settings

TEXT = """\
# an experiment
experiment_name: one
data:
  train: {mixture: [{source: a.txt, repeats: 2},
    {source: b.txt}]}
  interventions:
    - lowercase
    - {step: replace, pattern: a, by: b}
model:
  architecture: lstm
  rnn: {embedding_size: 8, hidden_size: 8}

seed: 7
training:
  max_steps:
    50
  warmup_steps: 20
  losses: {z_loss: 1.0e-4}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "exp.yaml"
    path.write_text(TEXT)
    return path


def origins(config: ExperimentConfig) -> dict[str, Origin]:
    return {name: origin for name, _, origin in config.with_origins()}


def shown(config: ExperimentConfig, *names: str) -> list[str]:
    found = origins(config)
    return [str(found[name]).rpartition("/")[2] for name in names]


def test_each_value_knows_its_line_and_column(file: Path) -> None:
    found = origins(load_config(file))
    places = {n: (o.line, o.column) for n, o in found.items() if o.kind == "file"}
    assert places == {
        "experiment_name": (2, 1),
        "data.train.mixture": (4, 11),
        "data.interventions": (6, 3),
        "model.architecture": (10, 3),
        "model.rnn.embedding_size": (11, 9),
        "model.rnn.hidden_size": (11, 28),
        "seed": (13, 1),
        "training.max_steps": (15, 3),
        "training.warmup_steps": (17, 3),
        "training.losses.z_loss": (18, 12),
    }
    assert {origin.file for origin in found.values()} == {str(file), None}
    assert {origin.kind for origin in found.values()} == {"file", "default"}


def test_an_override_is_one_and_replaces_all_below_it(file: Path) -> None:
    overrides = ["training={max_steps: 9, losses: {model: 1.0}}", "data.packing=blocks"]
    config = load_config(file, overrides=overrides)
    given = ("training.max_steps", "training.losses.model", "data.packing")
    assert shown(config, *given, "training.warmup_steps", "experiment_name") == [
        *("override", "override", "override", "default", "exp.yaml:2")
    ]


def test_a_seed_that_is_set_apart_leaves_the_others_their_line(file: Path) -> None:
    config = load_config(file, overrides=["seed.init=1"])
    names = ("seed.init", "seed.data", "seed.dropout", "seed.split")
    assert shown(config, *names) == ["override", "exp.yaml:13", "exp.yaml:13", "default"]


def test_a_warmup_that_is_cut_is_due_to_the_override(file: Path) -> None:
    config = load_config(file, overrides=["training.max_steps=5"])
    assert shown(config, "training.warmup_steps") == ["override"]


def test_an_assignment_is_seen_and_an_equal_one_changes_nothing(file: Path) -> None:
    config = load_config(file)
    config.training.learning_rate = 0.5
    config.training.max_steps = 50
    config.training.warmup_steps = 3
    names = ("training.learning_rate", "training.max_steps", "training.warmup_steps", "seed")
    expected = ["program", "exp.yaml:15", "program", "exp.yaml:13"]
    assert shown(config, *names) == expected
    copies = (config.model_copy(), config.model_copy(deep=True), pickle.loads(pickle.dumps(config)))
    for copy in (*copies, checked_again(config)):
        assert copy == config
        assert shown(copy, *names) == expected
    assert shown(load_config(file), "training.warmup_steps") == ["exp.yaml:17"]


def test_what_auto_came_to_was_set_by_a_program(file: Path) -> None:
    config = load_config(file, overrides=["training.mixed_precision=auto"])
    settled, _ = resolve_auto_settings(config, device_type="cpu")
    names = ("training.compile", "training.mixed_precision", "training.max_steps")
    assert shown(settled, *names) == ["program", "program", "exp.yaml:15"]
    assert shown(config, *names[:2]) == ["default", "override"]


def test_an_experiment_made_in_python_has_none(file: Path, tmp_path: Path) -> None:
    made = ExperimentConfig.model_validate(load_config(file).model_dump())
    assert {origin.kind for origin in origins(made).values()} == {"program"}
    assert made == load_config(file)  # origins do not make it another experiment
    (tmp_path / "again.yaml").write_text(save_config(made))
    assert load_config(tmp_path / "again.yaml") == made


@pytest.mark.parametrize(
    ("text", "overrides", "lines"),
    [
        ("  max_steps: -1", [], ["exp.yaml:15: training.max_steps: must be > 0, got -1"]),
        ("  max_steps: 9", ["training.max_steps=-1"], ["override training.max_steps: must be >"]),
        ("  max_steps: 9\n  epochs: 2", [], ["exp.yaml:16: training.epochs: (=2) and training.ma"]),
        # the section, where the setting itself is missing
        ("  save_steps: 9", [], ["exp.yaml:14: training.max_steps: is required, unless"]),
        ("  max_step: 9", [], ["exp.yaml:15: training.max_step: unknown key; did you mean 'max_"]),
        ("  max_steps: 9\nmod:", ["mod=null"], ["override mod: unknown key; did you mean 'mode"]),
        (
            "  max_steps: 9",
            ["training.sped.compile=no", "model.rnm.hidden_size=3"],
            [
                "override model.rnm: unknown key; did you mean 'rnn'?",
                "override training.sped: unknown key; did you mean 'speed'?",
            ],
        ),
        (
            "  max_steps: x",
            ["training.adam_beta1=2", "output_dir=/"],
            [
                "exp.yaml:15: training.max_steps: must be an integer, got 'x'",
                "override training.adam_beta1: must be < 1, got 2",
                "override output_dir: must name a directory of its own, got '/'",
            ],
        ),
    ],
)
def test_a_fault_is_told_with_its_place(
    text: str, overrides: list[str], lines: list[str], file: Path
) -> None:
    file.write_text(TEXT.partition("  max_steps")[0] + text + "\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, overrides=overrides)
    found = [line.removeprefix(f"{file.parent}/") for line in str(caught.value).splitlines()]
    assert len(found) == len(lines)
    assert all(line.startswith(begin) for line, begin in zip(found, lines, strict=True)), found


def test_an_entry_of_a_list_has_a_line_of_its_own(file: Path) -> None:
    file.write_text(TEXT.replace("repeats: 2", "repeats: 0").replace("pattern: a", "pattern: '('"))
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{file}:4: data.train.mixture.0.repeats: must be > 0")
    assert second.startswith(f"{file}:8: data.interventions.1.pattern: must be a regular")


def test_places_of_monstrous_names_are_not_kept() -> None:
    key = "k" * LONGEST_PATH
    _, places = parse_with_places(f"a: {{{key}: [1, 2, 3]}}", "text")
    assert list(places) == ["a", f"a.{key}"]
