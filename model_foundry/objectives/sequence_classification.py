"""Classification of texts: one label or several for a text, or for a pair of texts."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.data.batches.examples import Column
from model_foundry.data.sources.records import Records
from model_foundry.errors import ConfigError
from model_foundry.objectives.label_column import LabelColumn
from model_foundry.objectives.labelled_texts import LABELS, LabelledTexts, labels_of
from model_foundry.objectives.labels import Labels
from model_foundry.objectives.processors import Processor, Processors


class SequenceClassification(LabelColumn, LabelledTexts):
    """Predict the label of a text, or all of its labels."""

    metrics_of_several: ClassVar[Sequence[str]] = ("macro_f1", "loss")

    def __init__(self, config: ExperimentConfig) -> None:
        super().__init__(config)
        self._require_room()
        spec = ARCHITECTURES[config.model.architecture]
        if self.settings.pooling == "cls" and spec.causal_with(config.model.section):
            raise ConfigError(
                "training.sequence_classification.pooling: 'cls' is the first token, which has "
                f"read no other in {spec.name!r}, a causal model; use last, mean or max"
            )

    def _require_room(self) -> None:
        length, framing = self.config.data.max_sequence_length, 2 * self.spec.framing_tokens
        if self.settings.text_pair is not None and length < framing + 2:
            raise ConfigError(
                f"data.max_sequence_length: (={length}) leaves no room for both texts of a pair "
                f"beside their {framing} framing tokens; raise it"
            )

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
            labels.update(label for row in self.labels_in(each) for label in row)
        return self.learned(texts, Labels.of(labels, several=self.settings.multi_label))

    def encode(self, records: Records, processors: Processors) -> dict[str, Column]:
        targets = self.targets_in(records, labels_of(processors))
        texts = map(records.texts, self.text_columns)
        return {"input_ids": self.encoder.encode(*texts), LABELS: targets}

    def model_arguments(self, processors: Processors) -> dict[str, Any]:
        """Return the arguments of the head `text_classifier`, and those of its body."""
        own = {"pooling": self.settings.pooling, "multi_label": self.settings.multi_label}
        return super().model_arguments(processors) | own
