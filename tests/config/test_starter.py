"""First experiment files: for each architecture one that validates and says what is what."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft7Validator
from pydantic import BaseModel

from model_foundry import load_config, train
from model_foundry.config import (
    ARCHITECTURES,
    OBJECTIVES,
    ArchitectureSpec,
    ObjectiveSpec,
    Section,
    settings_without_effect,
)
from model_foundry.config.json_schema import experiment_schema
from model_foundry.config.shipped_experiments import MODELINE, shipped_experiments
from model_foundry.config.starter import make_starter
from model_foundry.config.yaml_file import read_yaml
from model_foundry.errors import ConfigError
from model_foundry.experiment import check

BUILT_IN = [spec.name for spec in ARCHITECTURES.known()]
OF_IMAGES = {spec.name for spec in ARCHITECTURES.known() if spec.kind == "image_classifier"}
WITHOUT_A_SHIPPED_ONE = {"min_lstm", "transformer_decoder"}
QUICK = ["training.max_steps=2", "training.warmup_steps=1", "data.train.language.sentences=300"]


class _Shape(Section):
    """A shape."""

    corners: int
    """Number of corners."""
    rounded: bool = False
    """Round them off."""


class _Figure(BaseModel):
    """A figure made of a shape."""

    shape: _Shape
    colour: str = "red"


def spec(name: str, schema: type[BaseModel] | None = None, **more: Any) -> ArchitectureSpec:
    """Return an architecture of a plugin whose section has its name."""
    return ArchitectureSpec(
        name=name, target="a:B", section=name if schema else None, schema=schema, **more
    )


@pytest.fixture
def _plugins() -> Iterator[None]:
    ARCHITECTURES.add(spec("shape", _Shape))
    ARCHITECTURES.add(spec("figure", _Figure, objectives=("masked_lm",)))
    ARCHITECTURES.add(spec("bare", objectives=()))
    ARCHITECTURES.add(spec("counter", kind="sum", objectives=()))
    OBJECTIVES.add(
        ObjectiveSpec(name="adds", target="a:B", model_kind="sum", reads_token_stream=False)
    )
    yield
    OBJECTIVES.remove("adds")
    for name in ("shape", "figure", "bare", "counter"):
        ARCHITECTURES.remove(name)


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Overrides that give images of 8 by 8, for those that cannot begin without."""
    path = tmp_path / "images.npz"
    np.savez(path, image=np.zeros((40, 8, 8), np.uint8), label=np.arange(40) % 2)
    return [f"data.train={path}", "training.warmup_steps=1"]


def written(directory: Path, *given: Any, name: str = "mine.yaml") -> Path:
    """Write a first file; return its path."""
    path = directory / name
    path.write_text(make_starter(path, *given).text)
    return path


@pytest.mark.parametrize("architecture", BUILT_IN)
def test_each_architecture_validates(
    architecture: str, tmp_path: Path, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, architecture, None)
    overrides = images if architecture in OF_IMAGES else ["data.train.language.sentences=400"]
    config = load_config(path, overrides=overrides)
    assert config.model.architecture == architecture
    assert config.experiment_name == "mine"
    assert settings_without_effect(config) == []
    assert check(config)
    raw = read_yaml(path)[0]
    assert list(Draft7Validator(experiment_schema()).iter_errors(raw)) == []


@pytest.mark.parametrize("architecture", BUILT_IN)
def test_what_is_not_given_is_named(architecture: str, tmp_path: Path) -> None:
    starter = make_starter(tmp_path / "mine.yaml", architecture, None)
    assert starter.missing == (["data.train"] if architecture in OF_IMAGES else [])
    shipped = shipped_experiments().get(starter.origin or "")
    assert (shipped is None) == (architecture in WITHOUT_A_SHIPPED_ONE)
    assert shipped is None or shipped.architecture == architecture
    assert max(map(len, starter.text.splitlines()[1:])) <= 100


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["lstm", "transformer_decoder", "huggingface"])
def test_it_trains(architecture: str, tmp_path: Path) -> None:
    path = written(tmp_path, architecture, None)
    result = train(load_config(path, overrides=[*QUICK, f"output_dir={tmp_path / 'run'}"]))
    assert result.step == 2


@pytest.mark.parametrize("name", shipped_experiments())
def test_each_shipped_experiment_can_be_begun_with(name: str, tmp_path: Path) -> None:
    starter = make_starter(tmp_path / "mine.yaml", None, name)
    shipped = shipped_experiments()[name]
    assert starter.origin == name
    path = tmp_path / "mine.yaml"
    path.write_text(starter.text)
    raw = read_yaml(path)[0]
    assert raw["model"] == shipped.values["model"]
    assert raw["training"] == shipped.values["training"]
    assert bool(starter.missing) is not shipped.is_on_the_language
    if starter.missing:
        with pytest.raises(ConfigError, match=r"data\.train"):
            load_config(path)
    else:
        assert settings_without_effect(load_config(path)) == []


def test_the_settings_have_their_meanings_beside_them(tmp_path: Path) -> None:
    lines = make_starter(tmp_path / "mine.yaml", "gpt2", None).text.splitlines()
    assert lines[1] == "# An experiment with gpt2, begun from the shipped experiment tiny_gpt2."
    assert "  max_steps: 400  # Optimizer steps" in lines
    assert "    layers: 2  # Number of layers" in lines
    place = lines.index("  train: {language: {sentences: 20000, seed: 1}}")
    assert "  #   train: corpus.txt" in lines[place - 3 : place]


@pytest.mark.usefixtures("_plugins")
def test_an_architecture_of_a_plugin_has_what_its_section_requires(tmp_path: Path) -> None:
    starter = make_starter(tmp_path / "mine.yaml", "shape", None)
    assert (starter.origin, starter.missing) == (None, ["model.shape.corners"])
    section = starter.text[starter.text.index("  # Further") : starter.text.index("\ntraining:")]
    assert section.splitlines() == [
        "  # Further settings:",
        "  #   rounded: true or false (default false)",
        "  shape:",
        "    corners: ???  # Number of corners",
    ]
    path = written(tmp_path, "shape", None)
    with pytest.raises(ConfigError, match=r"model\.shape\.corners"):
        load_config(path)
    config = load_config(path, overrides=["model.shape.corners=3"])
    assert config.model.section == _Shape(corners=3)
    assert config.training.objective == "causal_lm"


@pytest.mark.usefixtures("_plugins")
def test_other_plugins(tmp_path: Path) -> None:
    figure = make_starter(tmp_path / "mine.yaml", "figure", None)
    assert figure.missing == ["model.figure.shape.corners"]
    assert "objective: masked_lm" in figure.text
    bare = make_starter(tmp_path / "mine.yaml", "bare", None)
    assert bare.missing == ["data.train", "training.objective"]
    counter = make_starter(tmp_path / "mine.yaml", "counter", None)
    assert counter.missing == ["data.train"]
    assert "objective: adds" in counter.text


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("lstm-2.yaml", "lstm-2"),
        ("my first run!.yaml", "my-first-run-"),
        ("_x.yaml", "x"),
        ("é.yaml", "experiment"),
        (f"{'a' * 120}.yaml", "a" * 100),
    ],
)
def test_the_name_of_the_experiment_is_that_of_the_file(
    file: str, name: str, tmp_path: Path
) -> None:
    assert load_config(written(tmp_path, "lstm", None, name=file)).experiment_name == name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, None), "name an architecture with --architecture"),
        (("lstn", None), "Unknown architecture: 'lstn'; did you mean 'lstm'?"),
        ((None, "tiny_lst"), "--from: there is no shipped experiment 'tiny_lst'; did you mean"),
        ((None, "zzz"), "`foundry list configs` shows all"),
        (("gru", "tiny_lstm"), "'tiny_lstm' has the architecture 'lstm', not 'gru'; drop one"),
    ],
)
def test_what_cannot_be_begun_with(given: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        make_starter(tmp_path / "mine.yaml", *given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_names_a_shipped_experiment_too(tmp_path: Path) -> None:
    assert make_starter(tmp_path / "a.yaml", None, "configs/tiny_rnn.yaml").origin == "tiny_rnn"


def test_the_schema_is_that_of_the_project_or_of_the_package(tmp_path: Path) -> None:
    def reference(file: Path) -> str:
        return make_starter(file, "lstm", None).text.splitlines()[0].removeprefix(MODELINE)

    (tmp_path / "experiments").mkdir()
    file, below = tmp_path / "a.yaml", tmp_path / "experiments/b.yaml"
    assert reference(file).startswith("file:///")
    assert Path(reference(file).removeprefix("file://")).is_file()
    (tmp_path / "schema.json").write_text('{"title": "of something else"}')
    assert reference(file).startswith("file:///")
    (tmp_path / "schema.json").write_text('{"title": "Experiment of Model Foundry"}')
    assert (reference(file), reference(below)) == ("schema.json", "../schema.json")
