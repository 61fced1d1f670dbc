"""Tiny experiments on the built-in language, one for each architecture, for tests to change."""

import copy
import random
from pathlib import Path
from typing import Any

from model_foundry.config import ExperimentConfig, validate
from model_foundry.config.files import apply_override

TRANSFORMER = {"layers": 2, "hidden_size": 32, "attention_heads": 2}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
RECURRENT = {"embedding_size": 24, "hidden_size": 32, "num_layers": 2}
MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {"architecture": "gpt2", "transformer": TRANSFORMER},
    "bert": {"architecture": "bert", "transformer": TRANSFORMER},
    "llama": {"architecture": "huggingface", "huggingface": LLAMA},
    "lstm": {"architecture": "lstm", "rnn": RECURRENT},
    "gru": {"architecture": "gru", "rnn": RECURRENT},
    "min_gru": {"architecture": "min_gru", "rnn": RECURRENT},
    "min_lstm": {"architecture": "min_lstm", "rnn": RECURRENT},
    "rnn": {"architecture": "rnn", "rnn": RECURRENT},
    "transformer_decoder": {"architecture": "transformer_decoder", "backbone": TRANSFORMER},
    "transformer_encoder": {"architecture": "transformer_encoder", "backbone": TRANSFORMER},
    "bidirectional lstm": {"architecture": "lstm", "rnn": {**RECURRENT, "bidirectional": True}},
}
MASKED = {"bert", "bidirectional lstm", "transformer_encoder"}


TOY = Path(__file__).with_name("toy_optimizer.py")
# settings, and the names of what the optimizer keeps of a matrix and in a group
OPTIMIZED: dict[str, tuple[tuple[str, ...], set[str], set[str]]] = {
    "sgd": (("training.optimizer=sgd",), set(), set()),
    "momentum": (
        ("training.optimizer=sgd", "training.sgd={momentum: 0.9, nesterov: true}"),
        {"momentum_buffer"},
        set(),
    ),
    "adafactor": (("training.optimizer=adafactor",), {"step", "row_var", "col_var"}, set()),
    # of embeddings, which AdamW updates; hidden matrices have a momentum_buffer
    "muon": (("training.optimizer=muon",), {"step", "exp_avg", "exp_avg_sq"}, set()),
    "toy": (
        ("training.optimizer=toy",),
        {"signs", "scale", "count", "odd", "late", "seen", "third"},
        {"updates", "drift", "total"},
    ),
}


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


def snapshot(directory: Path) -> dict[Path, tuple[int, bytes | None]]:
    """Return the time of change and the content of everything in a directory but its lock."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in (directory, *directory.rglob("*"))
        if path.name != ".lock"
    }


BLOCKS_OF_TEXT = 33
"""Blocks of 14 tokens in the training text of `three_passes`."""


def three_passes(directory: Path) -> tuple[str, ...]:
    """Write a corpus below `directory`; return the settings of a run that reads it three times.

    A step takes six of its 33 blocks, so that a pass is five and a half steps: every second one
    ends within a step. The run ends within the fourth. Saves and evaluations mostly miss each
    other.
    """
    corpus = directory / "corpus.txt"
    if not corpus.exists():
        words = ["the", "cat", "sees", "a", "dog", "that", "runs", "away", "and", "big", "birds"]
        draw = random.Random(0)
        lines = (" ".join(draw.choices(words, k=3))[:9].ljust(9, ".") for _ in range(43))
        corpus.write_text("\n".join(lines) + "\n")
        held_out = (" ".join(draw.choices(words, k=6)) for _ in range(4))
        (directory / "held-out.txt").write_text("\n".join(held_out) + "\n")
    return (
        f"data.train={corpus}",
        f"data.validation={directory / 'held-out.txt'}",
        "data.document=line",
        "data.content_tokens=14",
        "tokenizer.tokenizer_type=character",
        "training.max_steps=18",
        "training.per_device_train_batch_size=2",
        "training.gradient_accumulation_steps=3",
        "training.save_steps=4",
        "training.eval_steps=3",
    )
