"""Classification of texts: one label or several for a text, or for a pair of texts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from model_foundry.architectures import BaseModel
from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.data.batches.arrays import ArrayExamples
from model_foundry.data.batches.examples import Column
from model_foundry.data.batches.loaders import Collate
from model_foundry.data.corpus.record_splits import RecordSplits
from model_foundry.data.sources.records import Records
from model_foundry.data.sources.rows import texts_of
from model_foundry.data_collators import PaddingCollator
from model_foundry.errors import ConfigError
from model_foundry.objectives.base import Prepared
from model_foundry.objectives.column_texts import TextEncoder, column_tokenizer
from model_foundry.objectives.label_loss import class_weights
from model_foundry.objectives.labels import Labels
from model_foundry.objectives.processors import TOKENIZER, Processor, Processors, TextTokenizer
from model_foundry.objectives.records import RecordObjective
from model_foundry.tokenizer.special_tokens import special_token_ids

LABELS = "labels"


class SequenceClassification(RecordObjective):
    """Predict the label of a text, or all of its labels.

    Attributes:
        class_weights: of the labels in the loss, once the data are prepared; None: there are none.
    """

    processor_types: ClassVar[Mapping[str, type[Processor]]] = {
        TOKENIZER: TextTokenizer,
        LABELS: Labels,
    }
    units: ClassVar[Mapping[str, str]] = {"tokens": "input_ids"}
    masks: ClassVar[Mapping[str, str]] = {"input_ids": "attention_mask"}

    def __init__(self, config: ExperimentConfig) -> None:
        super().__init__(config)
        self.class_weights: list[float] | None = None
        self._encoder: TextEncoder | None = None
        spec = ARCHITECTURES[config.model.architecture]
        if self.settings.pooling == "cls" and spec.causal_with(config.model.section):
            raise ConfigError(
                "training.sequence_classification.pooling: 'cls' is the first token, which has "
                f"read no other in {spec.name!r}, a causal model; use last, mean or max"
            )

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics of each evaluation; of several labels, those that are defined."""
        named = tuple(self.config.training.metrics)
        return named or (("macro_f1", "loss") if self.settings.multi_label else self.spec.metrics)

    @property
    def text_columns(self) -> list[str]:
        """The columns with texts."""
        pair = self.settings.text_pair
        return [self.settings.text, *([pair] if pair else [])]

    @property
    def columns(self) -> Sequence[str]:
        return [*self.text_columns, self.settings.label]

    def learn(self, records: Iterable[Records]) -> dict[str, Processor]:
        texts: list[str] = []
        labels: set[str] = set()
        for each in records:
            for column in self.text_columns:
                texts += each.texts(column)
            labels.update(label for row in self._labels_of(each) for label in row)
        return {TOKENIZER: column_tokenizer(self.config, texts), LABELS: Labels.of(labels)}

    def _labels_of(self, records: Records) -> list[list[str]]:
        """Return the labels of each row."""
        column = self.settings.label
        if not self.settings.multi_label:
            return [[label] for label in records.labels(column)]
        values = records.columns[column]
        if not any(isinstance(value, str) for value in values):
            return records.text_lists(column)
        rows = texts_of(values, records.where, column)
        return [[part.strip() for part in row.split(",") if part.strip()] for row in rows]

    def encode(self, records: Records, processors: Processors) -> dict[str, Column]:
        labels, encoder, column = processors[LABELS], self._encoder, self.settings.label
        assert isinstance(labels, Labels) and encoder is not None
        rows = self._labels_of(records)
        encode: Any = labels.encode_sets if self.settings.multi_label else labels.encode
        given = rows if self.settings.multi_label else [label for row in rows for label in row]
        return {
            "input_ids": encoder.encode(*map(records.texts, self.text_columns)),
            LABELS: encode(given, column, records.where),
        }

    def _encoded(self, splits: RecordSplits, processors: Processors) -> Prepared:
        tokenizer, labels = processors[TOKENIZER], processors[LABELS]
        assert isinstance(tokenizer, TextTokenizer) and isinstance(labels, Labels)
        length = self.config.data.max_sequence_length
        self._encoder = TextEncoder(tokenizer.tokenizer, length)
        prepared = super()._encoded(splits, processors)
        self._encoder.warn()
        assert isinstance(prepared.train, ArrayExamples)
        found = prepared.train.columns[LABELS]
        assert isinstance(found, np.ndarray)
        self.class_weights = class_weights(
            self.settings.class_weights,
            labels.names,
            found,
            field="training.sequence_classification.class_weights",
        )
        return prepared

    def collate(self, processors: Processors, *, seed: int, evaluating: bool) -> Collate:
        tokenizer = processors[TOKENIZER]
        assert isinstance(tokenizer, TextTokenizer)
        return PaddingCollator({"input_ids": tokenizer.tokenizer.pad_token_id}, self.masks)

    def model_arguments(self, processors: Processors) -> dict[str, Any]:
        """Return the arguments of the head `text_classifier`, and those of its body."""
        tokenizer, labels = processors[TOKENIZER], processors[LABELS]
        assert isinstance(tokenizer, TextTokenizer) and isinstance(labels, Labels)
        return {
            "vocab_size": len(tokenizer.tokenizer),
            **special_token_ids(tokenizer.tokenizer),
            LABELS: labels.names,
            "pooling": self.settings.pooling,
            "dropout": self.settings.dropout,
            "multi_label": self.settings.multi_label,
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
