"""The base of the tasks that label texts or their words: tokenizer, labels, lengths, weights."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from model_foundry.architectures import BaseModel
from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.arrays import ArrayExamples
from model_foundry.data.batches.examples import ExampleSet, Ragged
from model_foundry.data.batches.loaders import Collate
from model_foundry.data.corpus.record_splits import RecordSplits
from model_foundry.data_collators import PaddingCollator
from model_foundry.errors import ConfigError
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.objectives.base import Prepared
from model_foundry.objectives.column_texts import TextEncoder, column_tokenizer
from model_foundry.objectives.label_loss import class_weights
from model_foundry.objectives.labels import Labels
from model_foundry.objectives.processors import TOKENIZER, Processor, Processors, TextTokenizer
from model_foundry.objectives.records import RecordObjective
from model_foundry.tokenizer.special_tokens import special_token_ids

LABELS = "labels"


class LabelledTexts(RecordObjective):
    """A task whose examples are texts with labels.

    Attributes:
        class_weights: of the labels in the loss, once the data are prepared; None: there are none.
        encoder: gives the ids of texts while the data are prepared.
    """

    processor_types: ClassVar[Mapping[str, type[Processor]]] = {
        TOKENIZER: TextTokenizer,
        LABELS: Labels,
    }
    units: ClassVar[Mapping[str, str]] = {"tokens": "input_ids"}
    masks: ClassVar[Mapping[str, str]] = {"input_ids": "attention_mask"}
    encoder: TextEncoder

    def __init__(self, config: ExperimentConfig) -> None:
        super().__init__(config)
        self.class_weights: list[float] | None = None

    @property
    def grouped_by(self) -> Sequence[str]:
        return ["input_ids"] if self.settings.bucket_by_length else []

    def learned(self, texts: list[str], labels: Labels) -> dict[str, Processor]:
        """Return the processors, given the texts and the labels of the training records."""
        return {TOKENIZER: column_tokenizer(self.config.tokenizer, texts), LABELS: labels}

    def _encoded(self, splits: RecordSplits, processors: Processors) -> Prepared:
        tokenizer = _tokenizer_of(processors).tokenizer
        self.encoder = TextEncoder(tokenizer, self.config.data.max_sequence_length)
        prepared = super()._encoded(splits, processors)
        self.encoder.warn()
        self.class_weights = class_weights(
            self.settings.class_weights,
            labels_of(processors).names,
            targets_of(prepared.train),
            field=f"training.{self.spec.name}.class_weights",
        )
        return prepared

    def collate(self, processors: Processors, *, seed: int, evaluating: bool) -> Collate:
        padding = _tokenizer_of(processors).tokenizer.pad_token_id
        return PaddingCollator({"input_ids": padding}, self.masks)

    def model_arguments(self, processors: Processors) -> dict[str, Any]:
        """Return the arguments of a head, and those of its body."""
        tokenizer = _tokenizer_of(processors).tokenizer
        return {
            "vocab_size": len(tokenizer),
            **special_token_ids(tokenizer),
            LABELS: labels_of(processors).names,
            "dropout": self.settings.dropout,
            "freeze_body": self.settings.freeze_body,
        }

    def check_model(self, model: BaseModel, prepared: Prepared) -> None:
        """Require a position for each token.

        Raises:
            ConfigError: there are fewer.
        """
        length, positions = self.config.data.max_sequence_length, model.num_positions
        if positions is not None and length > positions:
            raise ConfigError(
                f"data.max_sequence_length (={length}) exceeds the {positions} positions of "
                f"{model.model_type!r} (max_position_embeddings); lower the first"
            )


def labels_of(processors: Processors) -> Labels:
    """Return the processor in the role `labels`."""
    labels = processors[LABELS]
    assert isinstance(labels, Labels)
    return labels


def _tokenizer_of(processors: Processors) -> TextTokenizer:
    tokenizer = processors[TOKENIZER]
    assert isinstance(tokenizer, TextTokenizer)
    return tokenizer


def targets_of(examples: ExampleSet) -> NDArray[Any]:
    """Return the targets of examples: numbers (N,), or (N, C) of 0 and 1."""
    assert isinstance(examples, ArrayExamples)
    column = examples.columns[LABELS]
    if isinstance(column, Ragged):
        return np.asarray(column.values[column.values != IGNORE_INDEX])
    return np.asarray(column)
