"""Rows as columns: an entry for each token of all of them, row after row.

Batches are made of these, so that reading them costs no Python object per token.

Letters of shapes: B rows, M spans of the stream in all of them, N tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.batches.order import Key
from model_foundry.data.batches.packing import Spans
from model_foundry.data.tokens.token_stream import Sharded

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Some rows; None where they do not say it."""

    keys: list[Key]
    """(pass, index) of each row."""
    ids: Ints
    """(N,), the frame included."""
    bounds: Ints
    """(B + 1,) where each row begins, and N."""
    tokens: int
    """Tokens of text that stand here first, without framing."""
    words: int
    """Words that begin in these."""
    num_bytes: Ints | None = None
    """(N,) source bytes that each token accounts for."""
    document_ids: Ints | None = None
    """(N,) number of the document within its row."""
    is_context: Bools | None = None
    """(N,) whether a token is repeated from the row before."""
    word_starts: Bools | None = None
    """(N,) whether a word begins in a token."""
    following: Ints | None = None
    """(B,) the token behind each row, or `IGNORE_INDEX`."""
    following_bytes: Ints | None = None
    """(B,) its source bytes."""

    def of_tokens(self) -> dict[str, NDArray[Any]]:
        """Return what is said of each token beside its id, as far as a collator reads it."""
        said = {name: getattr(self, name) for name in ("document_ids", "is_context", "word_starts")}
        return {name: column for name, column in said.items() if column is not None}

    def features(self) -> list[dict[str, Any]]:
        """Return each row as a dictionary, for collators that read rows one by one."""
        columns = {"input_ids": self.ids, **self.of_tokens()}
        parts = map(slice, self.bounds[:-1], self.bounds[1:])
        return [
            {"example_id": key, **{name: column[part] for name, column in columns.items()}}
            for key, part in zip(self.keys, parts, strict=True)
        ]


def positions(starts: Ints, sizes: Ints) -> Ints:
    """Return `starts[0]`, `starts[0] + 1`, ... for each stretch of these sizes, joined."""
    if len(sizes) and (sizes == sizes[0]).all():
        return (starts[:, None] + np.arange(sizes[0])).ravel()  # a third of the time
    ends = sizes.cumsum()
    shifts = np.repeat(starts - ends + sizes, sizes)
    return shifts + np.arange(len(shifts))


def read_stretches(columns: Sequence[Sharded], starts: Ints, sizes: Ints) -> list[NDArray[Any]]:
    """Return what stands in stretches of a stream, joined, as a copy of each column."""
    if len(columns[0].shards) == 1:
        places = positions(starts, sizes)
        return [column.shards[0][places] for column in columns]
    parts = list(map(slice, starts.tolist(), (starts + sizes).tolist()))
    return [np.concatenate([column[part] for part in parts]) for column in columns]


class Framing:
    """Puts a frame around spans.

    Args:
        before, after: the ids of the frame; `spans` says where they are put.
    """

    def __init__(self, spans: Spans, *, before: Ints, after: Ints) -> None:
        ends = spans.lengths.cumsum()
        starts = (ends - spans.lengths)[spans.before]
        self._before = starts[:, None] + np.arange(len(before)), before
        self._after = ends[spans.after][:, None] + np.arange(-len(after), 0), after
        self._is_text = np.ones(ends[-1], bool)
        for places, _ in (self._before, self._after):
            self._is_text[places] = False

    def of_ids(self, text: NDArray[Any]) -> Ints:
        """Return ids (N,) with those of the frame between them."""
        ids: Ints = self.of(text, np.int64)
        for places, frame in (self._before, self._after):
            ids[places] = frame
        return ids

    def of(self, text: NDArray[Any], dtype: type) -> NDArray[Any]:
        """Return what is said of the text (N,), with nothing of that said of the frame."""
        if len(text) == len(self._is_text):
            return text.astype(dtype)
        values: NDArray[Any] = np.zeros(len(self._is_text), dtype)
        values[self._is_text] = text
        return values
