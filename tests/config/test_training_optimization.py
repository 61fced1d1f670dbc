"""The limit of the gradients that is in force, whichever is given."""

from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import TrainingConfig, load_config, save_config
from tests.experiments import tiny_experiment


@pytest.mark.parametrize(
    ("given", "norm", "value"),
    [
        ({}, 1.0, None),
        ({"max_grad_norm": 2.0}, 2.0, None),
        ({"max_grad_norm": None}, None, None),
        ({"max_grad_value": 0.5}, None, 0.5),
        ({"max_grad_value": None}, 1.0, None),
        ({"max_grad_value": 0.5, "max_grad_norm": None}, None, 0.5),
    ],
)
def test_one_limit_replaces_the_default_of_the_other(
    given: dict[str, Any], norm: float | None, value: float | None
) -> None:
    config = TrainingConfig(max_steps=1, **given)
    assert (config.max_grad_norm, config.max_grad_value) == (norm, value)


def test_the_limit_is_saved_and_loaded(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path, "training.max_grad_value=0.5")
    (tmp_path / "saved.yaml").write_text(save_config(config))
    again = load_config(tmp_path / "saved.yaml")
    assert again == config and again.training.max_grad_norm is None


def test_an_assigned_limit_leaves_the_other_setting_as_it_is() -> None:
    config = TrainingConfig(max_steps=1, max_grad_norm=2.0)
    config.max_grad_value = 0.5  # checked again before a run, which refuses both
    assert (config.max_grad_norm, config.max_grad_value) == (2.0, 0.5)
