"""A tiny run for each kind of task and architecture; another one is one line of `KINDS`."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_foundry.config import ExperimentConfig, validate
from model_foundry.experiment.train import train
from model_foundry.foundation.failpoints import watching
from tests.children import Fault, striking
from tests.experiments import LLAMA, RECURRENT, TRANSFORMER, apply_override
from tests.pictures import write_folder

BACKBONE = {"layers": 2, "hidden_size": 16, "attention_heads": 2}
SMALL = {**TRANSFORMER, "layers": 1, "hidden_size": 16}
T5 = {"architecture": "t5", "transformer": SMALL}
MARIAN = {
    **{"model_type": "marian", "d_model": 16, "encoder_layers": 1, "decoder_layers": 1},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "dropout": 0.0},
    **{"encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
}
WORDS = {"the": "DET", "a": "DET", "cat": "NOUN", "dogs": "NOUN", "sees": "VERB", "run": "VERB"}
TEXT = {"data": {"train": "sentences.txt", "document": "line", "max_sequence_length": 16}}
TASKS: dict[str, dict[str, Any]] = {
    "causal_lm": TEXT,
    "masked_lm": TEXT,
    "span_denoising": TEXT,
    "seq2seq_lm": {
        "data": {"train": "pairs.jsonl", "max_sequence_length": 16},
        "training": {"metrics": ["loss", "exact_match"]},
    },
    "sequence_classification": {
        "data": {"train": "pairs.jsonl", "max_sequence_length": 16},
        "training": {"sequence_classification": {"text": "source", "class_weights": "balanced"}},
    },
    "token_classification": {
        "data": {"train": "words.jsonl", "max_sequence_length": 16},
        "training": {"token_classification": {"label_smoothing": 0.1}},
    },
    "image_classification": {
        "data": {"train": {"images": "pictures"}, "validation_fraction": 0.2},
        "training": {
            "image_classification": {"channels": 1},
            "dataloader_num_workers": 1,
            "transforms": [{"random_shift": {"pixels": 1, "keys": {"values": "pixel_values"}}}],
        },
    },
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {  # name, objective, model
    "transformer_decoder": (
        "causal_lm",
        {"architecture": "transformer_decoder", "backbone": {**BACKBONE, "positions": "rotary"}},
    ),
    "transformer_encoder": (
        "masked_lm",
        {"architecture": "transformer_encoder", "backbone": BACKBONE},
    ),
    "min_gru": ("causal_lm", {"architecture": "min_gru", "rnn": RECURRENT}),
    "llama": ("causal_lm", {"architecture": "huggingface", "huggingface": LLAMA}),
    "t5": ("seq2seq_lm", T5),
    "marian": ("seq2seq_lm", {"architecture": "huggingface", "huggingface": MARIAN}),
    "transformer": ("seq2seq_lm", {"architecture": "transformer", "backbone": BACKBONE}),
    "span denoising": ("span_denoising", T5),
    "dense": (
        "image_classification",
        {"architecture": "dense", "dense": {"hidden_sizes": [8], "dropout": 0.1}},
    ),
    "vit": (
        "image_classification",
        {"architecture": "vit", "backbone": BACKBONE, "vit": {"patch_size": 3}},
    ),
    "text classifier": (
        "sequence_classification",
        {"architecture": "transformer_decoder", "backbone": BACKBONE},
    ),
    "token classifier": ("token_classification", {"architecture": "min_gru", "rnn": RECURRENT}),
}


def write_data(directory: Path) -> None:
    """Write the data of all tasks: a text, pairs with a label, words with tags, and pictures."""
    directory.mkdir()
    nouns, verbs = ("cat", "dogs"), ("sees", "run")
    texts = [
        f"{one} {noun} {verb} {other} {last}"
        for one in ("the", "a")
        for noun in nouns
        for verb in verbs
        for other in ("a", "the")
        for last in nouns
    ]
    (directory / "sentences.txt").write_text("\n".join(texts * 2) + "\n")
    rows = [
        {"source": text, "target": " ".join(reversed(text.split())), "label": text.split()[0]}
        for text in texts
    ]
    tagged = [{"words": t.split(), "labels": [WORDS[word] for word in t.split()]} for t in texts]
    for name, records in (("pairs", rows), ("words", tagged)):
        lines = [json.dumps(record) for record in records]
        (directory / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    write_folder(directory / "pictures", 8)


def experiment(kind: str, directory: Path, *overrides: str) -> ExperimentConfig:
    """Return the run of a key of `KINDS`, whose data stand in `data` beside `directory`.

    It has eight steps of four examples, two at a time, and saves after every second one.
    """
    objective, model = KINDS[kind]
    raw: dict[str, Any] = copy.deepcopy(TASKS[objective])
    raw |= {
        "experiment_name": kind.replace(" ", "-"),
        "output_dir": directory / "run",
        "model": copy.deepcopy(model),
        "training": {
            **{"objective": objective, "max_steps": 8, "warmup_steps": 2, "learning_rate": 1e-2},
            **{"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
            **{"save_steps": 2, "eval_steps": 3, "logging_steps": 1},
            **raw.get("training", {}),
        },
    }
    raw["data"] |= {"cache_dir": directory / "cache"}
    if objective != "image_classification":
        raw["tokenizer"] = {"tokenizer_type": "bpe", "vocab_size": 280}
    train_data, place = raw["data"]["train"], directory.parent / "data"
    if isinstance(train_data, str):
        raw["data"]["train"] = str(place / train_data)
    else:
        raw["data"]["train"] = {name: str(place / file) for name, file in train_data.items()}
    for override in overrides:
        apply_override(raw, override)
    return validate(raw, "tiny experiment")


def train_kind(
    kind: str, directory: Path, overrides: tuple[str, ...] = (), fault: Fault | None = None
) -> None:
    """Train in this process; a fault strikes at its point."""
    with watching(striking(fault)):
        train(experiment(kind, directory, *overrides))


def without_dropout(kind: str) -> Iterator[str]:
    """Yield the overrides without which each process would draw a dropout of its own."""
    objective, model = KINDS[kind]
    for section in ("transformer", "backbone", "rnn", "dense"):
        if section in model:
            yield f"model.{section}.dropout=0.0"
        if section in ("transformer", "backbone") and section in model:
            yield f"model.{section}.attention_dropout=0.0"
    if objective in ("sequence_classification", "token_classification"):
        yield f"training.{objective}.dropout=0.0"
