"""Columns of a token stream: the reading of parts of it, and the insertion of frames.

Letters of shapes: M spans of the stream, N tokens in all of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.batches.packing import Spans
from model_foundry.data.tokens.ranges import Ints, positions
from model_foundry.data.tokens.token_stream import Sharded


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
