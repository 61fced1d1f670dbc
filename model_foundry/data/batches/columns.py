"""Rows as columns with one entry per token of all rows, so that reading them is fast.

Letters of shapes: B rows, M spans of the stream in all of them, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.batches.order import Key
from model_foundry.data.batches.packing import Spans
from model_foundry.data.tokens.ranges import Ints, positions
from model_foundry.data.tokens.token_stream import Sharded

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Some rows; a missing column is None."""

    keys: list[Key]
    """(pass, index) of each row."""
    ids: Ints
    """(N,), with the frame."""
    bounds: Ints
    """(B + 1,) the start of each row, and N."""
    tokens: int
    """Tokens of text, without frames and repeated context."""
    words: int
    """Words that begin in these tokens."""
    num_bytes: Ints | None = None
    """(N,) source bytes that each token accounts for."""
    document_ids: Ints | None = None
    """(N,) number of the document within its row."""
    is_context: Bools | None = None
    """(N,) True for a token that is repeated from the previous row."""
    word_starts: Bools | None = None
    """(N,) True for a token in which a word begins."""
    following: Ints | None = None
    """(B,) the token after each row, or `IGNORE_INDEX`."""
    following_bytes: Ints | None = None
    """(B,) source bytes of that token."""

    def of_tokens(self) -> dict[str, NDArray[Any]]:
        """Return the columns that a collator reads, apart from the ids."""
        names = ("document_ids", "is_context", "word_starts")
        columns = {name: getattr(self, name) for name in names}
        return {name: column for name, column in columns.items() if column is not None}

    def features(self) -> list[dict[str, Any]]:
        """Return each row as a dictionary, for collators that read single rows."""
        columns = {"input_ids": self.ids, **self.of_tokens()}
        parts = map(slice, self.bounds[:-1], self.bounds[1:])
        return [
            {"example_id": key, **{name: column[part] for name, column in columns.items()}}
            for key, part in zip(self.keys, parts, strict=True)
        ]


def read_stretches(columns: Sequence[Sharded], starts: Ints, sizes: Ints) -> list[NDArray[Any]]:
    """Return a copy of parts of a stream, joined, for each column."""
    if len(columns[0].shards) == 1:
        places = positions(starts, sizes)
        return [column.shards[0][places] for column in columns]
    parts = list(map(slice, starts.tolist(), (starts + sizes).tolist()))
    return [np.concatenate([column[part] for part in parts]) for column in columns]


class Framing:
    """Inserts the ids of a frame before and after spans."""

    def __init__(self, spans: Spans, *, before: Ints, after: Ints) -> None:
        ends = spans.lengths.cumsum()
        starts = (ends - spans.lengths)[spans.before]
        self._before = starts[:, None] + np.arange(len(before)), before
        self._after = ends[spans.after][:, None] + np.arange(-len(after), 0), after
        self._is_text = np.ones(ends[-1], bool)
        for places, _ in (self._before, self._after):
            self._is_text[places] = False

    def of_ids(self, text: NDArray[Any]) -> Ints:
        """Return the ids of the text and of the frame, (N,)."""
        ids: Ints = self.of(text, np.int64)
        for places, frame in (self._before, self._after):
            ids[places] = frame
        return ids

    def of(self, text: NDArray[Any], dtype: type) -> NDArray[Any]:
        """Return a column of the text with zeros at the frame, (N,)."""
        if len(text) == len(self._is_text):
            return text.astype(dtype)
        values: NDArray[Any] = np.zeros(len(self._is_text), dtype)
        values[self._is_text] = text
        return values
