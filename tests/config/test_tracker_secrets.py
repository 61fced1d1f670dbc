"""Secrets in the settings of trackers."""

from pathlib import Path

import pytest

from model_foundry.config import ExperimentConfig, load_config
from model_foundry.config.shipped import shipped_configs
from model_foundry.errors import ConfigError
from model_foundry.experiment.tracking import check_trackers
from tests.experiments import tiny_experiment


def load(directory: Path, setting: str) -> ExperimentConfig:
    path = shipped_configs() / "quickstart.yaml"
    return load_config(path, overrides=[f"output_dir={directory}", setting])


@pytest.mark.parametrize(
    "uri",
    [
        *("postgresql+pg8000://user:s3cr3t@host/db", "oracle+cx_oracle://u:p@h"),
        *("http://TOKEN@h", "https://u:p/x@h", "http://u:123@h", "https://me:${NAME}x@host"),
    ],
)
def test_a_password_in_a_uri_is_refused(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME", "n")
    with pytest.raises(
        ConfigError, match=r"tracking\.mlflow\.uri: must not hold a password"
    ) as refused:
        load(tmp_path, f"tracking.mlflow.uri='{uri}'")
    assert uri not in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    [
        *("http://h:5000", "https://h:5000/a@b", "sqlite:///m.db", "postgresql://user@h:1/d"),
        *("file:///home/a@b", "${MURI}", "http://me:${TOKEN}@host"),
    ],
)
def test_other_uris_and_those_of_the_environment_are_taken(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MURI", "http://me:geheim-4711@host")
    monkeypatch.setenv("TOKEN", "geheim-4711")
    config = load(tmp_path, f"tracking.mlflow.uri='{uri}'")
    assert config.recorded()["tracking"]["mlflow"]["uri"] == uri


@pytest.mark.parametrize(
    "name",
    [
        *("api_key", "apiKey", "pwd", "passwd", "auth", "access_key", "hf_token", "client_secret"),
        *("WANDB_API_KEY", "user-password"),
    ],
)
def test_an_argument_that_looks_like_a_secret_is_refused_at_any_depth(
    name: str, tmp_path: Path
) -> None:
    setting = f"tracking.comet_ml.arguments={{init: {{{name}: x}}}}"
    with pytest.raises(ConfigError, match=rf"arguments\.init\.{name}: looks like a secret"):
        load(tmp_path, setting)


@pytest.mark.parametrize("name", ["tokenizer", "max_tokens", "keyboard", "author", "auth_mode"])
def test_other_arguments_are_taken(name: str, tmp_path: Path) -> None:
    config = load(tmp_path, f"tracking.comet_ml.arguments={{{name}: x}}")
    assert config.tracking.section_of("comet_ml").arguments == {name: "x"}


def test_an_experiment_of_a_program_is_checked_before_its_trackers_start(tmp_path: Path) -> None:
    config = tiny_experiment("rnn", tmp_path, "tracking.mlflow.uri=sqlite:///m.db")
    config.tracking.section_of("mlflow").uri = "http://me:pass@host"
    with pytest.raises(ConfigError, match="must not hold a password"):
        check_trackers(config)
