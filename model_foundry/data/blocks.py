"""Rows of a token stream: what training and evaluation read, under keys (pass, index).

`Blocks` cuts the joined documents into stretches of one length. `DocumentRows` cuts and packs them
so that no row goes on with the text of another document unseen: each token is told its document.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from model_foundry.data.document_packing import Layout, lay_out
from model_foundry.data.order import Key
from model_foundry.data.token_stream import TokenStream
from model_foundry.labels import IGNORE_INDEX

Frame = tuple[Sequence[int], Sequence[int]]
Ids = NDArray[np.int64]


class Rows(Dataset[dict[str, Any]]):
    """Rows of a stream.

    Args:
        frame: ids put before and after the text of a row, or of each document in it.
        word_starts: whether rows tell in which tokens words begin.

    Attributes:
        number: of rows.
        dropped: tokens of the stream that are in no row.
        unread: rows that no pass reads, because they fill no lane of streams.
        repeated: tokens that stand in a second row, as context.
    """

    number: int
    dropped = 0
    unread = 0
    repeated = 0

    def __init__(self, stream: TokenStream, *, frame: Frame, word_starts: bool) -> None:
        self.stream, self.word_starts = stream, word_starts
        self.before, self.after = (np.array(ids, np.int64) for ids in frame)

    def __len__(self) -> int:
        return self.number

    def first(self, number: int) -> Self:
        """Return the first rows alone."""
        part = copy.copy(self)
        part.number = min(number, self.number)
        return part

    def describe(self) -> str:
        """Return the figures of the text, and how it is cut, in one line."""
        stream = self.stream
        left_over = f", {self.left_over:,} left over" if self.left_over else ""
        repeated = f", {self.repeated:,} repeated as context" if self.repeated else ""
        rows = f"{len(self) - self.unread:,} {self.shape}"
        return (
            f"{stream.documents:,} documents, {stream.words:,} words, {stream.bytes:,} bytes, "
            f"{len(stream):,} tokens in {rows}{left_over}{repeated}"
        )

    @property
    def left_over(self) -> int:
        """Tokens of the stream that no pass reads."""
        return self.dropped

    @property
    def shape(self) -> str:
        """What the rows are, for people."""
        raise NotImplementedError


class Blocks(Rows):
    """The joined documents, cut into stretches.

    Args:
        content: tokens of the stream in one block.
        keep_rest: whether the last, shorter block counts. If not, `dropped` tokens are left out.
        following: whether each block tells the token behind it, for a model that reads on.
    """

    def __init__(
        self,
        stream: TokenStream,
        *,
        content: int,
        frame: Frame = ((), ()),
        keep_rest: bool,
        word_starts: bool = False,
        following: bool = False,
    ) -> None:
        super().__init__(stream, frame=frame, word_starts=word_starts)
        self.content, self.following = content, following
        whole, rest = divmod(len(stream), content)
        self.dropped = 0 if keep_rest else rest
        self.number = whole + (1 if keep_rest and rest else 0)

    @property
    def shape(self) -> str:
        """What the rows are, for people."""
        return f"blocks of {self.content}"

    @property
    def left_over(self) -> int:
        """Tokens of the stream that no pass reads."""
        return self.dropped + self.unread * self.content

    def __getitem__(self, key: Key) -> dict[str, Any]:
        start = key[1] * self.content
        stop = start + self.content
        words = self.stream.num_words[start:stop]
        row = {
            "input_ids": self._framed(self.stream.tokens[start:stop]),
            "num_bytes": self._framed(self.stream.num_bytes[start:stop], framing=0),
            "tokens": len(words),
            "words": int(words.sum()),
            "example_id": key,
        }
        if self.word_starts:
            row["word_starts"] = self._framed(words, framing=0) > 0
        if self.following:
            # what is left over is no target either
            behind = slice(stop, min(stop + 1, len(self.stream) - self.left_over))
            row["following"] = int(next(iter(self.stream.tokens[behind]), IGNORE_INDEX))
            row["following_bytes"] = int(next(iter(self.stream.num_bytes[behind]), 0))
        return row

    def _framed(self, values: NDArray[Any], framing: int = 1) -> Ids:
        if not (len(self.before) or len(self.after)):
            return values.astype(np.int64)
        return np.concatenate([framing * self.before, values, framing * self.after])


class DocumentRows(Rows):
    """Documents, several short ones in a row and long ones in several, told apart by their number.

    A document that is cut goes on in another row with `overlap` tokens repeated as context.

    Args:
        length: tokens in one row at most, framing included.
        document_frame: ids that the stream has around each document.
        lay_out: says which documents stand in which row; may remember it.
    """

    def __init__(
        self,
        stream: TokenStream,
        *,
        length: int,
        frame: Frame = ((), ()),
        document_frame: Frame = ((), ()),
        overlap: int = 0,
        word_starts: bool = False,
        lay_out: Callable[..., Layout] = lay_out,
    ) -> None:
        super().__init__(stream, frame=frame, word_starts=word_starts)
        self.length = length
        # what already stands around each document in the stream is not put there twice
        framed = [
            bool(len(own)) and list(own) == list(ids)
            for own, ids in zip(document_frame, (self.before, self.after), strict=True)
        ]
        layout = lay_out(
            stream.document_ends,
            length=length,
            overlap=overlap,
            before=len(self.before),
            after=len(self.after),
            framed=(framed[0], framed[1]),
        )
        self.spans, self.order, self.row_ends = layout.spans, layout.order, layout.row_ends
        self.number = len(self.row_ends)
        self.repeated = int(self.spans.context.sum())

    @property
    def shape(self) -> str:
        """What the rows are, for people."""
        filled = self.spans.lengths.sum() / max(self.number * self.length, 1)
        return f"rows of {self.length} ({filled:.1%} full)"

    def __getitem__(self, key: Key) -> dict[str, Any]:
        first = int(self.row_ends[key[1] - 1]) if key[1] else 0
        members = self.order[first : int(self.row_ends[key[1]])].tolist()
        parts = [self._span(member) for member in members]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        ids, num_bytes, words, context = columns
        lengths = [len(part[0]) for part in parts]
        row = {
            "input_ids": ids,
            "num_bytes": num_bytes,
            "tokens": int((self.spans.sizes[members] - self.spans.context[members]).sum()),
            "words": int(words.sum()),
            "example_id": key,
            "document_ids": np.repeat(np.arange(len(parts)), lengths),
        }
        if self.repeated:
            row["is_context"] = context.astype(np.bool_)
        if self.word_starts:
            row["word_starts"] = words > 0
        return row

    def _span(self, member: int) -> tuple[Ids, Ids, Ids, Ids]:
        """Return ids, bytes, words and whether it is context, for each token of a span."""
        spans = self.spans
        start = int(spans.starts[member])
        part = slice(start, start + int(spans.sizes[member]))
        before = self.before if spans.before[member] else self.before[:0]
        after = self.after if spans.after[member] else self.after[:0]
        repeated = slice(0, int(spans.context[member]))
        columns = []
        for array in (self.stream.num_bytes, self.stream.num_words):
            values = array[part].astype(np.int64)
            values[repeated] = 0  # they were counted where they stood first
            columns.append(np.concatenate([0 * before, values, 0 * after]))
        context = np.zeros(part.stop - part.start, np.int64)
        context[repeated] = 1
        ids = np.concatenate([before, self.stream.tokens[part].astype(np.int64), after])
        return ids, columns[0], columns[1], np.concatenate([0 * before, context, 0 * after])
