"""Classifiers of arrays and of ids, and a language model of counts: the smallest of their kinds."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from model_foundry.architectures import (
    MODEL_REGISTRY,
    BaseLanguageModel,
    BaseModel,
    CountedModel,
    ModelOutput,
    register_architecture,
)
from model_foundry.architectures.bert import BERTModel
from model_foundry.architectures.losses import language_model_loss, shifted
from model_foundry.architectures.transformer import HFTransformer
from model_foundry.config import (
    OBJECTIVES,
    BERTSpecificConfig,
    ExperimentConfig,
    ObjectiveSpec,
    PositiveInt,
    Section,
)
from model_foundry.errors import ConfigError
from model_foundry.foundation.labels import IGNORE_INDEX


class ClassifierSection(Section):
    """The settings below `model.array_classifier`."""

    hidden_size: PositiveInt = 16


class ObjectiveSection(Section):
    """The settings below `training.classify_arrays_with`."""

    names: list[str] = Field(default_factory=list)
    smoothing: float = 0.1


class ArrayClassifier(BaseModel):
    """Two layers from features (B, F) to the logits of named classes (B, C)."""

    model_type = "array_classifier"

    def __init__(self, hidden_size: int, features: int, classes: list[str]) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, hidden_size)
        self.output = nn.Linear(hidden_size, len(classes))
        self.classes = classes

    @classmethod
    def from_config(cls, config: ExperimentConfig, **arguments: Any) -> Self:
        return cls(config.model.section.hidden_size, **arguments)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> ModelOutput:
        logits = self.output(torch.tanh(self.hidden(features)))
        if labels is None:
            return ModelOutput(logits=logits)
        total = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="sum")
        return ModelOutput(loss=total / (labels != IGNORE_INDEX).sum().clamp(min=1), logits=logits)


class BERTClassifier(HFTransformer):
    """BERT with a head for classes of whole rows, from transformers."""

    hf_config_class = BertConfig
    model_type = "bert_classifier"

    @classmethod
    def hf_class(cls, hf_config: Any) -> Any:
        return BertForSequenceClassification

    @classmethod
    def hf_fields(cls, config: ExperimentConfig) -> dict[str, Any]:
        return BERTModel.hf_fields(config)


class CountedBigram(CountedModel, BaseLanguageModel):
    """Each token by the one before it, with one added to each count (Laplace)."""

    model_type = "counted_bigram"
    supports_generation = True

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(vocab_size, vocab_size, dtype=torch.int64))

    @classmethod
    def from_config(cls, config: ExperimentConfig, *, vocab_size: int, **ids: Any) -> Self:
        return cls(vocab_size)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> ModelOutput:
        weights = (self.table + 1).float()
        logits = (weights / weights.sum(1, keepdim=True)).log()[input_ids]  # (B, T, V)
        return ModelOutput(loss=language_model_loss(logits, labels, causal=True), logits=logits)

    def count(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        targets = shifted(input_ids if labels is None else labels, input_ids.shape[1])
        counted = targets != IGNORE_INDEX
        if attention_mask is not None:
            counted &= attention_mask.bool()
        pairs = input_ids[counted] * self.vocabulary_size + targets[counted]
        self.table += pairs.bincount(minlength=self.table.numel()).view_as(self.table)

    @property
    def vocabulary_size(self) -> int:
        return len(self.table)

    def get_input_embeddings(self) -> nn.Module:
        raise ConfigError("a model of counts has no embeddings")

    def resize_token_embeddings(self, new_num_tokens: int) -> nn.Module:
        raise ConfigError("a model of counts has no embeddings")


OF_IMAGES: dict[str, dict[str, Any]] = {
    "dense": {"dense": {"hidden_sizes": [8]}},
    "vit": {
        "backbone": {
            **{"layers": 1, "hidden_size": 16, "attention_heads": 2},
            **{"dropout": 0.0, "attention_dropout": 0.0},
        },
        "vit": {"patch_size": 2},
    },
}
SCHEMAS = {"classify_arrays": None, "classify_arrays_with": ObjectiveSection}


@contextmanager
def registered() -> Iterator[None]:
    """Register the models and two objectives for the classifiers, for the time of the block."""
    register_architecture(
        "array_classifier",
        section="array_classifier",
        objectives=tuple(SCHEMAS),
        kind="classifier",
        schema=ClassifierSection,
    )(ArrayClassifier)
    register_architecture(
        "bert_classifier",
        section="transformer",
        objectives=tuple(SCHEMAS),
        kind="classifier",
        optional_sections={"bert": BERTSpecificConfig},
        settings=("attn_implementation",),
    )(BERTClassifier)
    register_architecture("counted_bigram", trained_by="counting")(CountedBigram)
    known: dict[str, Any] = {"target": f"{__name__}:ArrayClassifier", "model_kind": "classifier"}
    for name, schema in SCHEMAS.items():
        OBJECTIVES.add(ObjectiveSpec(name=name, schema=schema, reads_token_stream=False, **known))
    try:
        yield
    finally:
        for name in SCHEMAS:
            OBJECTIVES.remove(name)
        for name in ("array_classifier", "bert_classifier", "counted_bigram"):
            del MODEL_REGISTRY[name]


def experiment(name: str, **training: Any) -> ExperimentConfig:
    """Return an experiment for one of them."""
    section, training = {}, {"max_steps": 1} | training
    if name == "bert_classifier":
        section = {"transformer": {"layers": 1, "hidden_size": 16, "attention_heads": 2}}
    if name == "array_classifier":
        section = {name: {}}
    if name in OF_IMAGES:
        section = OF_IMAGES[name]
        training = {"objective": "image_classification"} | training
    elif section:
        training = {"objective": "classify_arrays"} | training
    return ExperimentConfig.model_validate(
        {
            "experiment_name": "small",
            "data": {"train": "unread.txt", "max_sequence_length": 12},
            "model": {"architecture": name, **section},
            "training": training,
        }
    )
