"""Tiny experiments on the built-in language, one for each architecture, for tests to change."""

import copy
from pathlib import Path
from typing import Any

from model_foundry.config import ExperimentConfig, validate
from model_foundry.config.files import apply_override

TRANSFORMER = {"layers": 2, "hidden_size": 32, "attention_heads": 2}
RECURRENT = {"embedding_size": 24, "hidden_size": 32, "num_layers": 2}
MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {"architecture": "gpt2", "transformer": TRANSFORMER},
    "bert": {"architecture": "bert", "transformer": TRANSFORMER},
    "lstm": {"architecture": "lstm", "rnn": RECURRENT},
    "gru": {"architecture": "gru", "rnn": RECURRENT},
    "rnn": {"architecture": "rnn", "rnn": RECURRENT},
    "bidirectional lstm": {"architecture": "lstm", "rnn": {**RECURRENT, "bidirectional": True}},
}
MASKED = {"bert", "bidirectional lstm"}


def tiny_experiment(kind: str, directory: Path, *overrides: str) -> ExperimentConfig:
    """Return an experiment of a few seconds that writes below `directory`.

    Args:
        kind: a key of `MODELS`.
        overrides: settings to change, as on the command line.
    """
    raw: dict[str, Any] = {
        "experiment_name": kind.replace(" ", "-"),
        "output_dir": directory / "run",
        "data": {"train": {"language": {"sentences": 300}}, "max_sequence_length": 16},
        "tokenizer": {"tokenizer_type": "bpe", "vocab_size": 300},
        "model": copy.deepcopy(MODELS[kind]),
        "training": {
            "objective": "masked_lm" if kind in MASKED else "causal_lm",
            "max_steps": 6,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-2,
            "warmup_steps": 2,
            "logging_steps": 1,
        },
    }
    for override in overrides:
        apply_override(raw, override)
    return validate(raw, "tiny experiment")
