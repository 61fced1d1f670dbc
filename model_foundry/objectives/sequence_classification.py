"""Classification of texts: one label or several for a text, or for a pair of texts."""

from collections.abc import Iterable, Sequence
from typing import Any

from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.data.batches.examples import Column
from model_foundry.data.sources.records import Records
from model_foundry.data.sources.rows import texts_of
from model_foundry.errors import ConfigError
from model_foundry.objectives.labelled_texts import LABELS, LabelledTexts, labels_of
from model_foundry.objectives.processors import Processor, Processors


class SequenceClassification(LabelledTexts):
    """Predict the label of a text, or all of its labels."""

    def __init__(self, config: ExperimentConfig) -> None:
        super().__init__(config)
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
        return self.learned(texts, labels)

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
        labels, rows = labels_of(processors), self._labels_of(records)
        place = self.settings.label, records.where
        if self.settings.multi_label:
            targets: Column = labels.encode_sets(rows, *place)
        else:
            targets = labels.encode([label for row in rows for label in row], *place)
        texts = map(records.texts, self.text_columns)
        return {"input_ids": self.encoder.encode(*texts), LABELS: targets}

    def model_arguments(self, processors: Processors) -> dict[str, Any]:
        """Return the arguments of the head `text_classifier`, and those of its body."""
        own = {"pooling": self.settings.pooling, "multi_label": self.settings.multi_label}
        return super().model_arguments(processors) | own
