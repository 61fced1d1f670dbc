"""Free text from the environment: keys with dots, and many values at once."""

from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import ExperimentConfig, free_text, load_config
from model_foundry.config.yaml_reader import dump_yaml
from tests.experiments import MODELS

RAW = {
    "experiment_name": "one",
    "data": {"train": "a.txt", "max_sequence_length": 16},
    "model": MODELS["lstm"],
    "training": {"max_steps": 5},
}


def load(directory: Path, more: dict[str, Any]) -> ExperimentConfig:
    (directory / "one.yaml").write_text(dump_yaml({**RAW, **more}))
    return load_config(directory / "one.yaml")


@pytest.mark.parametrize(
    "tracking",
    [
        {"mlflow": {"tags": {"mlflow.note.content": "${TOKEN}"}}},
        {"comet_ml": {"arguments": {"a.b": "${TOKEN}"}}},
    ],
)
def test_a_key_may_hold_a_dot(
    tracking: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "geheim-4711")
    recorded = str(load(tmp_path, {"tracking": tracking}).recorded()["tracking"])
    assert "${TOKEN}" in recorded and "geheim" not in recorded


def test_many_values_are_validated_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A", "text")
    monkeypatch.setenv("KIND", "sgd")
    calls = []
    validate = free_text.validate
    monkeypatch.setattr(
        free_text, "validate", lambda raw, source: calls.append(0) or validate(raw, source)
    )
    tags = {f"tag{number}": "${A}" for number in range(64)}
    training = {"max_steps": 5, "optimizer": "${KIND}"}
    config = load(tmp_path, {"tracking": {"mlflow": {"tags": tags}}, "training": training})
    known = config.origins.environment
    assert {name for name, each in known.items() if not each.is_free_text} == {"training.optimizer"}
    assert len(known) == 65
    assert len(calls) < 20  # halves, not one after the other
