"""The base class of sources that consist of rows; their text is one column."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence

from model_foundry.data.sources.base import Source
from model_foundry.data.sources.records import Records, document_texts
from model_foundry.data.sources.text_batch import TextBatch


class RowSource(Source):
    """Rows with named columns; each row is a document.

    Args:
        name: name in messages.
        column: column that holds the text.
    """

    def __init__(self, name: str, column: str) -> None:
        super().__init__(name)
        self.column = column

    @abstractmethod
    def records(self, columns: Sequence[str]) -> Iterator[Records]:
        """Read these columns of each row; see `Source.records`."""

    def batches(self) -> Iterator[TextBatch]:
        """Read the text column of each row."""
        return map(TextBatch.of, document_texts(self.records([self.column]), self.column))
