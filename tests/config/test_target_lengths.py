"""The longest target that settings allow, and the positions that it needs."""

from typing import Any

import pytest

from model_foundry.config import ExperimentConfig, validate
from model_foundry.config.target_lengths import longest_target, positions_needed
from model_foundry.errors import ConfigError


def experiment(objective: str, *, positions: str = "learned", **settings: Any) -> ExperimentConfig:
    section = {"layers": 1, "hidden_size": 8, "attention_heads": 2, "positions": positions}
    section["max_position_embeddings"] = settings.pop("most", None)
    return validate(
        {
            "experiment_name": "lengths",
            "data": {"train": "unread", "max_sequence_length": 32},
            "model": {"architecture": "transformer", "backbone": section},
            "training": {"objective": objective, "max_steps": 1, objective: settings},
        },
        "lengths",
    )


@pytest.mark.parametrize(
    ("objective", "settings", "length", "positions"),
    [
        ("span_denoising", {"hidden_share": 0.15}, 8, 32),
        ("span_denoising", {"hidden_share": 0.99}, 33, 33),
        ("span_denoising", {"hidden_share": 0.6, "mean_span_length": 1.0}, 38, 38),
        ("seq2seq_lm", {"max_target_length": 40}, 40, 40),
    ],
)
def test_positions_hold_the_longest_source_and_target(
    objective: str, settings: dict[str, Any], length: int, positions: int
) -> None:
    config = experiment(objective, **settings)
    assert longest_target(config) == (next(iter(settings)), length)
    assert positions_needed(config) == positions
    if length > 32:
        setting = f"training.{objective}.{next(iter(settings))}"
        law = f"gives targets of up to {length} tokens, more than model.backbone.max_position_emb"
        with pytest.raises(ConfigError, match=rf"{setting}: \(=.*\) {law}"):
            experiment(objective, most=length - 1, **settings)
        assert experiment(objective, most=length - 1, positions="rotary", **settings)
    assert experiment(objective, most=positions, **settings)


def test_without_a_setting_a_target_is_no_longer_than_a_source() -> None:
    config = experiment("seq2seq_lm")
    assert longest_target(config) is None and positions_needed(config) == 32
