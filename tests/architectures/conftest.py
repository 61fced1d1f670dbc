"""Tiny experiments for every architecture."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from model_foundry.config import ARCHITECTURES, ExperimentConfig

BLOCK = 12
SECTIONS: dict[str, dict[str, Any]] = {
    "transformer": {"layers": 2, "hidden_size": 16, "attention_heads": 2},
    "backbone": {"layers": 2, "hidden_size": 16, "attention_heads": 2},
    "huggingface": {
        "model_type": "opt",
        "hidden_size": 16,
        "word_embed_proj_dim": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 64,
    },
    "rnn": {"embedding_size": 12, "hidden_size": 16, "num_layers": 2},
}


def make_config(
    name: str,
    *,
    training: dict[str, Any] | None = None,
    implementation: str = "auto",
    **section: Any,
) -> Any:
    """Return a tiny experiment for an architecture, without dropout; `section` overrides."""
    spec = ARCHITECTURES[name]
    assert spec.section is not None
    values = SECTIONS[spec.section] | {"dropout": 0.0} | section
    if spec.section in ("backbone", "transformer"):
        values = {"attention_dropout": 0.0} | values
    masked = spec.objectives == ("masked_lm",) or values.get("bidirectional", False)
    return ExperimentConfig.model_validate(
        {
            "experiment_name": "tiny",
            "data": {"train": "unread.txt", "max_sequence_length": BLOCK},
            "model": {
                "architecture": name,
                "implementation": implementation,
                spec.section: values,
            },
            "training": {
                "objective": "masked_lm" if masked else "causal_lm",
                "max_steps": 1,
                **(training or {}),
            },
        }
    )


@pytest.fixture
def tiny_config() -> Callable[..., ExperimentConfig]:
    return make_config


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def without_ninja(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep RWKV from starting a process that looks for the compiler of its kernel."""
    module = "transformers.models.rwkv.modeling_rwkv"
    monkeypatch.setattr(f"{module}.is_ninja_available", lambda: False)
