"""Classification of words in context, such as part-of-speech tags."""

from collections.abc import Iterable, Sequence

from model_foundry.data.batches.examples import Column
from model_foundry.data.sources.records import Records
from model_foundry.data.sources.rows import texts_of
from model_foundry.errors import DataError
from model_foundry.objectives.labelled_texts import LABELS, LabelledTexts, labels_of
from model_foundry.objectives.processors import Processor, Processors


class TokenClassification(LabelledTexts):
    """Predict the label of each word; one of its pieces has the label, the others none."""

    @property
    def columns(self) -> Sequence[str]:
        return [self.settings.words, self.settings.labels]

    def learn(self, records: Iterable[Records]) -> dict[str, Processor]:
        texts: list[str] = []
        labels: set[str] = set()
        for each in records:
            words, tags = self._pairs_of(each)
            texts += map(" ".join, words)
            labels.update(tag for row in tags for tag in row)
        return self.learned(texts, labels)

    def _pairs_of(self, records: Records) -> tuple[list[list[str]], list[list[str]]]:
        """Return the words and the labels of each row, as many of the one as of the other."""
        words, labels = (_lists_of(records, column) for column in self.columns)
        for index, pair in enumerate(zip(words, labels, strict=True)):
            sizes = [len(each) for each in pair]
            if sizes[0] != sizes[1]:
                (one, other), (first, second) = sizes, self.columns
                law = f"{first!r} has {one:,} words, but {second!r} {other:,} labels"
                remedy = "give each word one label, or remove the row"
                raise DataError(f"{records.where(index)}: {law}; {remedy}")
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


def _lists_of(records: Records, column: str) -> list[list[str]]:
    """Return lists of texts; a text is divided at white space."""
    values = records.columns[column]
    if not any(isinstance(value, str) for value in values):
        rows = records.text_lists(column)
        for index, row in enumerate(rows):
            if not all(map(str.strip, row)):
                law = f"{column!r} has a blank entry, which is no word and no label"
                raise DataError(f"{records.where(index)}: {law}; correct it, or remove the row")
        return rows
    return [text.split() for text in texts_of(values, records.where, column)]
