"""Tiny saved models with tokenizers, each with its expected outputs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

from model_foundry.architectures import BaseLanguageModel
from model_foundry.config import ExperimentConfig, validate
from model_foundry.doctor.small_experiment import randomize
from model_foundry.model import create_model
from model_foundry.objectives.preparation import prepare
from model_foundry.training.checkpoint.save_load import save_model

TOKENIZERS: Final = ("bpe", "sentencepiece", "wordpiece", "character", "word")
TRANSFORMER: Final = {"layers": 2, "hidden_size": 32, "attention_heads": 2}
RECURRENT: Final = {"embedding_size": 24, "hidden_size": 32, "num_layers": 2}
LLAMA: Final = {
    **{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64},
    **{"num_hidden_layers": 2, "num_attention_heads": 2},
}
ARCHITECTURES: Final[dict[str, dict[str, Any]]] = {
    "gpt2": {"architecture": "gpt2", "transformer": TRANSFORMER},
    "bert": {"architecture": "bert", "transformer": TRANSFORMER},
    "lstm": {"architecture": "lstm", "rnn": RECURRENT},
    "gru": {"architecture": "gru", "rnn": RECURRENT},
    "rnn": {"architecture": "rnn", "rnn": RECURRENT},
    "min_gru": {"architecture": "min_gru", "rnn": RECURRENT},
    "min_lstm": {"architecture": "min_lstm", "rnn": RECURRENT},
    "bidirectional lstm": {"architecture": "lstm", "rnn": {**RECURRENT, "bidirectional": True}},
    "tied lstm": {"architecture": "lstm", "rnn": {**RECURRENT, "tie_word_embeddings": True}},
    "transformer_decoder": {"architecture": "transformer_decoder", "backbone": TRANSFORMER},
    "rotary decoder": {
        "architecture": "transformer_decoder",
        "backbone": {**TRANSFORMER, "positions": "rotary", "norm": {"kind": "rms_norm"}},
    },
    "transformer_encoder": {"architecture": "transformer_encoder", "backbone": TRANSFORMER},
    "llama of huggingface": {"architecture": "huggingface", "huggingface": LLAMA},
}
WITH_EACH: Final = ("gpt2", "bert", "lstm", "gru", "rnn", "bidirectional lstm", "tied lstm")
"""Architectures that are saved with each kind of tokenizer; the others with one."""
MASKED: Final = {"bert", "bidirectional lstm", "transformer_encoder"}
PAIRS: Final = [
    (name, tokenizer)
    for place, name in enumerate(ARCHITECTURES)
    for tokenizer in (TOKENIZERS if name in WITH_EACH else (TOKENIZERS[place % len(TOKENIZERS)],))
]
"""Architectures and tokenizers that are saved together."""
POSITIONS: Final = 96
NEW_TOKENS: Final = 8
TEXTS: Final = (
    "The old farmer sees the birds near the garden.",
    "A dog",
    "  Zwei  Wörter,\nand \t(some) don't  fit: \u00e9 e\u0301 ...",
)
PROMPTS: Final = ("The", "The dogs near the old garden", "A small bird")


def experiment(architecture: str, tokenizer: str, directory: Path) -> ExperimentConfig:
    """Return the experiment for a model and its tokenizer."""
    vocabulary = {"vocab_size": 400} if tokenizer in ("bpe", "sentencepiece", "wordpiece") else {}
    raw = {
        "experiment_name": "export",
        "output_dir": directory / "run",
        "data": {"train": {"language": {"sentences": 300}}, "max_sequence_length": POSITIONS},
        "tokenizer": {"tokenizer_type": tokenizer, **vocabulary},
        "model": ARCHITECTURES[architecture],
        "training": {"objective": "masked_lm" if architecture in MASKED else "causal_lm"},
    }
    raw["training"]["max_steps"] = 1
    return validate(raw, "compatibility")


def export(architecture: str, tokenizer: str, directory: Path) -> Path:
    """Save a model and its outputs for some texts; return its directory below `directory`."""
    place = directory / f"{architecture}, {tokenizer}".replace(" ", "_")
    config = experiment(architecture, tokenizer, place)
    prepared = prepare(config)
    model = create_model(config, tokenizer=prepared.tokenizer).eval()
    randomize(model)
    save_model(place / "model", model, prepared.processors)
    encode = prepared.tokenizer
    rows = [encode(text)["input_ids"] for text in TEXTS]
    with torch.no_grad():
        logits = {str(i): model(torch.tensor([row])).logits[0] for i, row in enumerate(rows)}
    expected = {
        "architecture": architecture,
        "tokenizer": tokenizer,
        "masked": architecture in MASKED,
        "own_code": bool(list((place / "model").glob("*.py"))),
        "positions": model.num_positions,
        "texts": TEXTS,
        "ids": rows,
        "decoded": [encode.decode(row, skip_special_tokens=True) for row in rows],
        "prompts": PROMPTS,
        "continued": [],
    }
    if model.supports_generation:
        prompts = [encode(text)["input_ids"] for text in PROMPTS]
        expected["continued"] = [_continued(model, row, encode.eos_token_id) for row in prompts]
    save_file(logits, place / "logits.safetensors")
    (place / "expected.json").write_text(json.dumps(expected, indent=1), encoding="utf-8")
    return place


@torch.no_grad()
def _continued(model: BaseLanguageModel, prompt: Sequence[int], eos: int | None) -> list[int]:
    """Return the likeliest next ids, up to the first `eos`; all is read again for each of them."""
    row: Tensor = torch.tensor([list(prompt)])
    for _ in range(NEW_TOKENS):
        row = torch.cat((row, model(row).logits[:, -1:].argmax(-1)), dim=1)
        if row[0, -1] == eos:
            break
    ids: list[int] = row[0, len(prompt) :].tolist()
    return ids
