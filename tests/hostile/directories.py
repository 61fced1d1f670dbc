"""The kinds of directory that are loaded, and the files in each that a loader could open.

A kind of directory is a line in `KINDS`, a file a line in `FILES`.
"""

import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.architectures import BaseLanguageModel, ModelOutput, create_model_from_config
from model_foundry.config import ExperimentConfig
from model_foundry.data.tokens.token_stream import (
    ARRAYS,
    DOCUMENTS,
    StreamFacts,
    read_stream,
    write_facts,
)
from model_foundry.errors import ConfigError, DataError, FoundryError, MemoryExhaustedError
from model_foundry.model import load_model
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory
from tests.experiments import tiny_experiment

V = 40
PLAIN = "plain_for_hostile_files"


class Plain(BaseLanguageModel):
    """The least that is a language model and saves itself by the methods of its base."""

    model_type = PLAIN
    supports_generation = True

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embed, self.output = nn.Embedding(size, 4), nn.Linear(4, size)

    @classmethod
    def from_config(cls, config: ExperimentConfig, *, vocab_size: Any = None, **_: Any) -> Self:
        return cls(vocab_size)

    def forward(self, input_ids: Tensor, *_: Any, **__: Any) -> ModelOutput:
        return ModelOutput(logits=self.output(self.embed(input_ids)))

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def resize_token_embeddings(self, new_num_tokens: int) -> nn.Module:
        return self.embed


def save_transformer(directory: Path) -> None:
    config = GPT2Config(vocab_size=V, n_positions=8, n_embd=8, n_layer=2, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(directory)


def save_recurrent(directory: Path) -> None:
    config = tiny_experiment("lstm", directory)
    create_model_from_config(config, vocab_size=V).save_pretrained(directory)


def save_plain(directory: Path) -> None:
    raw = tiny_experiment("gpt2", directory).model_dump(exclude_none=True)
    raw["model"] = {"architecture": PLAIN}
    config = ExperimentConfig.model_validate(raw)
    create_model_from_config(config, vocab_size=V).save_pretrained(directory)


def save_tokenizer(directory: Path) -> None:
    TokenizerFactory.train_sentencepiece(
        documents=["the dogs see a cat"] * 9, vocab_size=300, output_dir=directory
    )


def save_stream(directory: Path) -> None:
    directory.mkdir()
    for name in ARRAYS:
        np.save(directory / f"{name}-00000.npy", np.arange(9, dtype=np.uint16))
    for name in DOCUMENTS:
        np.save(directory / f"{name}.npy", np.array([9], np.uint64))
    facts = StreamFacts(text_sha256="0", tokens_sha256="1", bytes=36, words=36, lossless=True)
    write_facts(directory, facts)


@dataclass(frozen=True)
class Kind:
    """A kind of directory that somebody else may have made."""

    save: Callable[[Path], None]
    load: Callable[[Path], object]
    error: type[FoundryError]


KINDS = {
    "transformer": Kind(save_transformer, load_model, ConfigError),
    "recurrent": Kind(save_recurrent, load_model, ConfigError),
    "plain": Kind(save_plain, load_model, ConfigError),
    "tokenizer": Kind(save_tokenizer, load_tokenizer, DataError),
    "token cache": Kind(save_stream, read_stream, DataError),
}
READ, UNREAD = True, False
FILES = [
    ("transformer", "config.json", READ),
    ("transformer", "model.safetensors", READ),
    ("transformer", "generation_config.json", UNREAD),
    ("transformer", "pytorch_model.bin", UNREAD),
    ("transformer", "adapter_config.json", UNREAD),
    ("transformer", "training_args.bin", UNREAD),
    ("recurrent", "config.json", READ),
    ("recurrent", "model.safetensors", READ),
    ("recurrent", "modeling_recurrent.py", UNREAD),
    ("plain", "config.json", READ),
    ("plain", "model.safetensors", READ),
    ("plain", "pytorch_model.bin", UNREAD),
    ("tokenizer", "tokenizer.json", READ),
    ("tokenizer", "tokenizer_config.json", READ),
    ("tokenizer", "special_tokens_map.json", READ),
    ("tokenizer", "tokenizer.model", UNREAD),
    ("tokenizer", "vocab.txt", UNREAD),
    ("tokenizer", "vocab.json", UNREAD),
    ("tokenizer", "merges.txt", UNREAD),
    ("tokenizer", "tokenizer.pkl", UNREAD),
    ("token cache", "tokens-00000.npy", READ),
    ("token cache", "num_bytes-00000.npy", READ),
    ("token cache", "num_words-00000.npy", READ),
    ("token cache", "document_ends.npy", READ),
    ("token cache", "document_digests.npy", READ),
    ("token cache", "stream.json", READ),
]


JSON_FILES = [(kind, file) for kind, file, read in FILES if read and file.endswith(".json")]


def refusal(kind: str, directory: Path) -> str:
    """Return the message with which loading ends; it is of the right class and one line.

    A size that is too large for the memory is told as such.
    """
    with pytest.raises((KINDS[kind].error, MemoryExhaustedError)) as caught:
        KINDS[kind].load(directory)
    message = str(caught.value)
    assert str(directory) in message
    assert "\n" not in message and len(message) < 1200
    return message


def change(path: Path, **values: object) -> None:
    """Set keys of a JSON file."""
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | values))


class bounded:
    """Asserts that a block takes a few seconds of computing and a few hundred megabytes."""

    def __enter__(self) -> None:
        self.start, self.peak = time.process_time(), self._peak()

    def __exit__(self, *_: object) -> None:
        assert time.process_time() - self.start < 10
        assert self._peak() - self.peak < 500_000

    @staticmethod
    def _peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes
