"""Classification of words in context, such as part-of-speech tags."""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain

from model_foundry.data.batches.examples import Column
from model_foundry.data.sources.records import Records
from model_foundry.data.sources.rows import texts_of
from model_foundry.errors import DataError
from model_foundry.objectives.labelled_texts import LABELS, LabelledTexts, labels_of
from model_foundry.objectives.labels import Labels
from model_foundry.objectives.processors import Processor, Processors

logger = logging.getLogger(__name__)

Lists = Callable[[str], list[list[str]]]
"""Returns a column of lists of texts, given its name."""


class TokenClassification(LabelledTexts):
    """Predict the label of each word; one of its pieces has the label, the others none."""

    @property
    def columns(self) -> Sequence[str]:
        return [self.settings.words, self.settings.labels]

    def learn(self, records: Iterable[Records]) -> dict[str, Processor]:
        texts: list[str] = []
        forms, labels = set[str](), set[str]()
        for each in records:
            words, tags = self._pairs_of(each)
            texts += map(" ".join, words)
            forms.update(chain.from_iterable(words))
            labels.update(chain.from_iterable(tags))
        self._warn_if_swapped(len(forms), len(labels))
        return self.learned(texts, Labels.of(labels))

    def _warn_if_swapped(self, forms: int, labels: int) -> None:
        """Warn if there are more labels than different words."""
        if labels > forms:
            section = f"training.{self.spec.name}"
            logger.warning(
                "%s.labels: %s labels of %s different words; if they are swapped, swap them in "
                "%s.words and %s.labels, or in data.train",
                *(section, f"{labels:,}", f"{forms:,}", section, section),
            )

    def _pairs_of(self, records: Records) -> tuple[list[list[str]], list[list[str]]]:
        """Return the words and the labels of each row, as many of the one as of the other."""
        words = _lists_of(records, self.settings.words, partial(records.text_lists, blank=False))
        labels = _lists_of(records, self.settings.labels, records.label_lists)
        for index, pair in enumerate(zip(words, labels, strict=True)):
            sizes = [len(each) for each in pair]
            if sizes[0] != sizes[1]:
                (one, other), (first, second) = sizes, self.columns
                law = f"{first!r} has {one:,} words, but {second!r} {other:,} labels"
                remedy = "give each word one label, or remove the row"
                raise DataError(f"{records.where(index)}: {law}; {remedy}")
            if not pair[0]:
                law = f"{self.settings.words!r} has no words; write some, or remove the row"
                raise DataError(f"{records.where(index)}: {law}")
        return words, labels

    def encode(self, records: Records, processors: Processors) -> dict[str, Column]:
        words, tags = self._pairs_of(records)
        labels, column = labels_of(processors), self.settings.labels
        numbers = [
            labels.encode(row, column, lambda _, index=index: records.where(index))  # type: ignore[misc]
            for index, row in enumerate(tags)
        ]
        ids, targets = self.encoder.encode_words(words, numbers, self.settings.word_piece)
        return {"input_ids": ids, LABELS: targets}


def _lists_of(records: Records, column: str, read: Lists) -> list[list[str]]:
    """Return lists of texts, read by a function; a text is divided at white space."""
    values = records.columns[column]
    if not any(isinstance(value, str) for value in values):
        return read(column)
    return [text.split() for text in texts_of(values, records.where, column)]
