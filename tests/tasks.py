"""Three things that the package does not know: two tasks without text, and a model that counts.

The experiment's file names them, `--plugin tests/tasks.py` brings them. docs/adding_a_task.md
explains this file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from model_foundry.architectures import (
    BaseLanguageModel,
    BaseModel,
    CountedModel,
    ModelOutput,
    register_architecture,
)
from model_foundry.architectures.losses import language_model_loss, shifted
from model_foundry.config import ExperimentConfig, PositiveInt, Section
from model_foundry.data.batches.examples import Column, Ragged
from model_foundry.data.sources.records import Records
from model_foundry.errors import ConfigError, DataError
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.objectives import (
    ForwardPass,
    Loss,
    Metric,
    Processor,
    RecordObjective,
    register_loss,
    register_metric,
    register_objective,
)
from model_foundry.objectives.labels import Labels
from model_foundry.objectives.metrics import Sums
from model_foundry.objectives.processors import Processors

# --- a classifier of arrays -----------------------------------------------------------------------


class ArrayColumns(Section):
    """The columns of a table to classify."""

    features: Annotated[list[str], Field(min_length=1)]
    """Columns with numbers."""
    label: str
    """Column with the label."""


@register_objective(
    "classify_arrays",
    model_kind="array_classifier",
    schema=ArrayColumns,
    metrics=("accuracy", "loss"),
)
class ClassifyArrays(RecordObjective):
    """Predict the label of a row from its numbers."""

    processor_types: ClassVar[Mapping[str, type[Processor]]] = {"labels": Labels}

    @property
    def columns(self) -> Sequence[str]:
        return [*self.settings.features, self.settings.label]

    def learn(self, records: Iterable[Records]) -> dict[str, Processor]:
        return {"labels": Labels.of(x for r in records for x in r.labels(self.settings.label))}

    def encode(self, records: Records, processors: Processors) -> dict[str, Column]:
        labels, column = processors["labels"], self.settings.label
        assert isinstance(labels, Labels)
        features = [records.numbers(name) for name in self.settings.features]
        return {
            "features": np.stack(features, axis=1).astype(np.float32),
            "labels": labels.encode(records.labels(column), column, records.where),
        }

    def model_arguments(self, processors: Processors) -> dict[str, Any]:
        labels = processors["labels"]
        assert isinstance(labels, Labels)
        return {"num_features": len(self.settings.features), "num_labels": len(labels.names)}


class PerceptronSection(Section):
    """A perceptron with one hidden layer."""

    hidden_size: PositiveInt
    """Width of the hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the hidden layer."""


@register_architecture(
    "perceptron", "perceptron", (), kind="array_classifier", schema=PerceptronSection
)
class Perceptron(BaseModel):
    """A perceptron that gives each label a logit."""

    def __init__(self, section: PerceptronSection, num_features: int, num_labels: int) -> None:
        super().__init__()
        width = section.hidden_size
        self.layers = nn.Sequential(
            nn.Linear(num_features, width),
            nn.ReLU(),
            nn.Dropout(section.dropout),
            nn.Linear(width, num_labels),
        )

    @classmethod
    def from_config(cls, config: ExperimentConfig, **arguments: Any) -> Self:
        return cls(config.model.section, **arguments)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> ModelOutput:
        logits = self.layers(features)  # (B, C)
        return ModelOutput(loss=mean_cross_entropy(logits, labels), logits=logits)

    @property
    def model_type(self) -> str:
        return "perceptron"


def mean_cross_entropy(logits: Tensor, labels: Tensor | None) -> Tensor | None:
    """Return the mean over the labels that are not -100; zero with a graph if there are none."""
    if labels is None:
        return None
    flat = logits.flatten(0, -2), labels.flatten()
    total = F.cross_entropy(*flat, reduction="sum")
    return total / (labels != -100).sum().clamp(min=1)


# --- copying sequences ----------------------------------------------------------------------------

BEGIN, END = 0, 1  # symbols that no record has


class PairColumns(Section):
    """The columns of a table of pairs."""

    source: str = "source"
    """Column with what is read; its symbols stand between spaces."""
    target: str = "target"
    """Column with what is written."""


class Symbols(Processor):
    """The symbols of the training records, numbered from 2."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._numbers = {name: number for number, name in enumerate(self.names, 2)}

    def encode(self, texts: Sequence[str], column: str, records: Records) -> list[np.ndarray]:
        rows = []
        for index, text in enumerate(texts):
            unknown = [symbol for symbol in text.split() if symbol not in self._numbers]
            if unknown:
                raise DataError(
                    f"{records.where(index)}: {column!r} has the symbol {unknown[0]!r}, which the "
                    "training data do not have; correct it, or give them such a row"
                )
            rows.append(np.array([*map(self._numbers.__getitem__, text.split()), END]))
        return rows

    @property
    def sha256(self) -> str:
        return sha256(json.dumps(self.names).encode()).hexdigest()

    def describe(self) -> str:
        return f"{len(self.names)} symbols"

    def save(self, directory: Path, *, positions: int | None = None, alone: bool = False) -> None:
        (directory / "symbols.json").write_text(json.dumps(self.names), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        return cls(json.loads((directory / "symbols.json").read_text(encoding="utf-8")))


@register_objective(
    "write_pairs",
    model_kind="encoder_decoder",
    schema=PairColumns,
    losses={"smoothed": 1.0},
    metrics=("whole_copies", "loss"),
)
class WritePairs(RecordObjective):
    """Write the target of a pair, given its source."""

    processor_types: ClassVar[Mapping[str, type[Processor]]] = {"symbols": Symbols}
    units: ClassVar[Mapping[str, str]] = {"symbols": "labels"}
    masks: ClassVar[Mapping[str, str]] = {"input_ids": "attention_mask"}

    @property
    def columns(self) -> Sequence[str]:
        return [self.settings.source, self.settings.target]

    def learn(self, records: Iterable[Records]) -> dict[str, Processor]:
        texts = (text for r in records for column in self.columns for text in r.texts(column))
        return {"symbols": Symbols(sorted({symbol for text in texts for symbol in text.split()}))}

    def encode(self, records: Records, processors: Processors) -> dict[str, Column]:
        symbols = processors["symbols"]
        assert isinstance(symbols, Symbols)
        source, target = (
            Ragged.of(symbols.encode(records.texts(column), column, records))
            for column in self.columns
        )
        return {"input_ids": source, "labels": target}

    def model_arguments(self, processors: Processors) -> dict[str, Any]:
        symbols = processors["symbols"]
        assert isinstance(symbols, Symbols)
        return {"num_symbols": 2 + len(symbols.names)}


class WriterSection(Section):
    """Two recurrent networks."""

    hidden_size: PositiveInt
    """Width of embeddings and states."""


@register_architecture("writer", "writer", (), kind="encoder_decoder", schema=WriterSection)
class Writer(BaseModel):
    """A GRU that reads a sequence, and one that writes another from its last state, with attention
    to what was read (Luong et al. 2015, arXiv:1508.04025)."""

    def __init__(self, section: WriterSection, num_symbols: int) -> None:
        super().__init__()
        width = section.hidden_size
        self.embed = nn.Embedding(num_symbols, width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.output = nn.Linear(2 * width, num_symbols)

    @classmethod
    def from_config(cls, config: ExperimentConfig, **arguments: Any) -> Self:
        return cls(config.model.section, **arguments)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> ModelOutput:
        read, _ = self.encoder(self.embed(input_ids))  # (B, S, H)
        last = attention_mask.sum(1) - 1
        state = read[torch.arange(len(read), device=read.device), last][None]
        before = F.pad(labels[:, :-1].clamp(min=END), (1, 0), value=BEGIN)
        written, _ = self.decoder(self.embed(before), state)  # (B, T, H)
        scores = (written @ read.mT).masked_fill(attention_mask[:, None] == 0, -torch.inf)
        seen = scores.softmax(-1) @ read
        logits = self.output(torch.cat((written, seen), -1))  # (B, T, C)
        return ModelOutput(loss=mean_cross_entropy(logits, labels), logits=logits)

    @property
    def model_type(self) -> str:
        return "writer"


@register_loss("smoothed")
class Smoothed(Loss):
    """Cross-entropy with a tenth of the probability spread over all symbols (Szegedy et al. 2016,
    arXiv:1512.00567)."""

    def mean(self, done: ForwardPass) -> Tensor:
        logits, targets = done.predictions
        total = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=0.1)
        return total / max(1, len(targets))


@register_metric("whole_copies", greater_is_better=True)
class WholeCopies(Metric):
    """The share of the targets in which every symbol is predicted."""

    def sums(self, done: ForwardPass) -> Tensor:
        logits, labels = done.align(done.output, done.inputs)
        right = (logits.argmax(-1) == labels) | (labels == -100)
        return torch.stack([right.all(1).sum(), torch.tensor(len(labels))]).double()

    def result(self, sums: Sums) -> float:
        return float(sums[0] / sums[1])


# --- a language model that counts -----------------------------------------------------------------


class BigramSection(Section):
    """A table of counts."""

    added: Annotated[float, Field(gt=0)] = 0.1
    """Added to each count, so that no token is impossible (Lidstone)."""


@register_architecture(
    "bigram", "bigram", ("causal_lm",), schema=BigramSection, trained_by="counting"
)
class Bigram(CountedModel, BaseLanguageModel):
    """Each token follows from the one before it, by how often it did in the training text."""

    def __init__(self, section: BigramSection, vocab_size: int) -> None:
        super().__init__()
        self.added = section.added
        self.register_buffer("table", torch.zeros(vocab_size, vocab_size, dtype=torch.int64))

    @classmethod
    def from_config(cls, config: ExperimentConfig, *, vocab_size: int, **ids: Any) -> Self:
        return cls(config.model.section, vocab_size)

    def count(self, input_ids: Tensor, labels: Tensor, **inputs: Any) -> None:
        targets = shifted(labels, input_ids.shape[1])
        counted = targets != IGNORE_INDEX
        pairs = input_ids[counted] * self.vocabulary_size + targets[counted]
        self.table += pairs.bincount(minlength=self.table.numel()).view_as(self.table)

    def forward(
        self, input_ids: Tensor, labels: Tensor | None = None, **inputs: Any
    ) -> ModelOutput:
        weights = self.table.float() + self.added
        logits = (weights / weights.sum(1, keepdim=True)).log()[input_ids]  # (B, T, V)
        return ModelOutput(loss=language_model_loss(logits, labels, causal=True), logits=logits)

    @property
    def vocabulary_size(self) -> int:
        return len(self.table)

    @property
    def model_type(self) -> str:
        return "bigram"

    @property
    def supports_generation(self) -> bool:
        return True

    def get_input_embeddings(self) -> nn.Module:
        raise ConfigError("a bigram has no embeddings")

    def resize_token_embeddings(self, new_num_tokens: int) -> nn.Module:
        raise ConfigError("a bigram has no embeddings")
