"""The names of the package, and what they take."""

import subprocess
import sys
from pathlib import Path

import pytest

import model_foundry
from model_foundry import create_model, load_model, train
from model_foundry.config import save_config
from model_foundry.errors import ConfigError
from tests.experiments import tiny_experiment


def test_the_names_are_there_for_who_looks() -> None:
    assert set(model_foundry.__all__) <= set(dir(model_foundry))
    space: dict[str, object] = {}
    exec("from model_foundry import *", space)
    assert set(model_foundry.__all__) <= space.keys()


@pytest.mark.slow
def test_help_shows_them(project: Path) -> None:
    text = subprocess.run(
        [sys.executable, "-c", "import model_foundry; help(model_foundry)"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    for name in (
        "class ExperimentConfig",
        "class RunResult",
        "class Sink",
        "create_model(config",
        "train(config",
    ):
        assert name in text
    assert "load_config(path" in text and "load_model(directory" in text


def test_a_file_serves_as_experiment_and_a_run_as_model(tmp_path: Path) -> None:
    config = tiny_experiment("gru", tmp_path)
    file = tmp_path / "one.yaml"
    file.write_text(save_config(config))
    assert create_model(file).get_parameter_count() == create_model(config).get_parameter_count()
    result = train(str(file))
    places = [result.output_dir, result.model_dir, *(result.output_dir / "checkpoints").iterdir()]
    assert len(places) > 2
    assert {load_model(place).get_parameter_count() for place in places} == {result.parameters}


@pytest.mark.parametrize("given", [{"model": 1}, None, 5])
def test_an_argument_that_is_no_experiment_gets_the_remedy(given: object) -> None:
    for function in (train, create_model):
        with pytest.raises(TypeError, match="make one with load_config"):
            function(given)  # type: ignore[operator]


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", "\0", "~nobody-has-this-name"):
        with pytest.raises(ConfigError, match=r"holds no model|no such|cannot be read"):
            load_model(path)
