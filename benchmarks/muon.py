"""AdamW against Muon on small models of the built-in language: the table of docs/optimization.md.

    python -m benchmarks.muon

Prints the validation loss after 300 steps as each run ends, then the best rate of each optimizer.
"""

import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any, Final

from model_foundry import train
from model_foundry.config import validate

RATES: Final = (3e-3, 1e-2, 3e-2, 1e-1)
SEEDS: Final = (1, 2)
TRANSFORMER: Final = {
    **{"layers": 2, "hidden_size": 64, "attention_heads": 2},
    **{"dropout": 0.0, "attention_dropout": 0.0},
}
RECURRENT: Final = {"embedding_size": 64, "hidden_size": 64, "num_layers": 2, "dropout": 0.0}
MODELS: Final[dict[str, dict[str, Any]]] = {
    "gpt2": {"architecture": "gpt2", "transformer": TRANSFORMER},
    **{name: {"architecture": name, "rnn": RECURRENT} for name in ("lstm", "gru", "rnn")},
}


def loss(model: str, optimizer: str, rate: float, seed: int) -> float:
    """Return the validation loss of one run, in nats per token."""
    training = {
        **{"objective": "causal_lm", "max_steps": 300, "per_device_train_batch_size": 16},
        **{"learning_rate": rate, "warmup_steps": 20, "optimizer": optimizer},
        **{"weight_decay": 0.01, "mixed_precision": "no", "logging_steps": 100},
    }
    with tempfile.TemporaryDirectory() as directory:
        raw = {
            "experiment_name": f"{model}-{optimizer}",
            "seed": seed,
            "output_dir": str(Path(directory) / "run"),
            "data": {"train": {"language": {"sentences": 4000}}, "max_sequence_length": 32},
            "tokenizer": {"tokenizer_type": "bpe", "vocab_size": 300},
            "model": MODELS[model],
            "training": training,
        }
        return train(validate(raw, "benchmark")).metrics["eval/loss"]


def main() -> None:
    """Make all runs, and print the mean over the seeds at the best rate of each optimizer."""
    found: dict[tuple[str, str], dict[float, float]] = defaultdict(dict)
    for model in MODELS:
        for optimizer in ("adamw", "muon"):
            for rate in RATES:
                losses = [loss(model, optimizer, rate, seed) for seed in SEEDS]
                found[model, optimizer][rate] = mean(losses)
                print(model, optimizer, rate, *(f"{each:.3f}" for each in losses), flush=True)
    for (model, optimizer), by_rate in found.items():
        best = min(by_rate, key=by_rate.__getitem__)
        print(f"{model:5} {optimizer:6} best at {best:g}: {by_rate[best]:.3f}")


if __name__ == "__main__":
    main()
