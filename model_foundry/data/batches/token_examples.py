"""Examples of language models: rows of a token stream.

`Blocks` are parts of the joined documents with the same length. `PackedDocuments` packs documents
into rows and numbers the documents of each row.
"""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Self

import numpy as np

from model_foundry.data.batches.columns import Framing, read_stretches
from model_foundry.data.batches.examples import Column, Examples, ExampleSet, Key, Ragged
from model_foundry.data.batches.packing import Spans, pack, spans_of
from model_foundry.data.tokens.ranges import Ints, positions
from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.foundation.labels import IGNORE_INDEX

Frame = tuple[Sequence[int], Sequence[int]]


class TokenExamples(ExampleSet):
    """Rows of a stream: `input_ids`, and beside them the columns that an objective asks for.

    An evaluation also reads `num_bytes`, the source bytes that each token accounts for.

    Args:
        frame: ids added before and after the text of a row, or of each document in it.
        word_starts: read the column `word_starts` too.

    Attributes:
        number: number of rows.
        dropped: tokens of the stream that are in no row.
        unread: rows that no pass reads, because they fill no lane of streams.
        repeated: tokens that are in a second row, as context.
    """

    units = ("tokens", "words")
    number: int
    dropped = 0
    unread = 0
    repeated = 0

    def __init__(self, stream: TokenStream, *, frame: Frame, word_starts: bool) -> None:
        self.stream, self.word_starts = stream, word_starts
        self.before, self.after = (np.array(ids, np.int64) for ids in frame)

    def __len__(self) -> int:
        return self.number

    @property
    def content_sha256(self) -> str:
        return self.stream.text_sha256

    def read(self, keys: list[Key], *, evaluating: bool = False) -> Examples:
        """Read one or more rows.

        Returns:
            Ragged `input_ids` with the frame and, if they are asked for, `word_starts` (True for a
            token in which a word begins), `is_context` (True for one repeated from the previous
            row), `document_ids` (number of the document within its row) and `num_bytes`; dense
            `following` (the token after each row, or `IGNORE_INDEX`) and `following_bytes`. The
            counts are those of text, without frames and context.
        """
        spans, numbers = self._spans(np.array([index for _, index in keys]))
        sources = [self.stream.tokens, self.stream.num_words]
        if evaluating:
            sources.append(self.stream.num_bytes)
        ids, words, *sizes = read_stretches(sources, spans.starts, spans.sizes)
        framing = Framing(spans, before=self.before, after=self.after)
        ends = np.append(0, spans.lengths.cumsum())
        ragged = partial(Ragged, bounds=ends[np.append(0, numbers.cumsum())])
        columns: dict[str, Column] = {"input_ids": ragged(framing.of_ids(ids))}
        if self.repeated:
            is_context = np.zeros(len(ids), bool)
            is_context[positions(spans.sizes.cumsum() - spans.sizes, spans.context)] = True
            for counts in (words, *sizes):
                counts[is_context] = 0  # counted in the previous row
            columns["is_context"] = ragged(framing.of(is_context, np.bool_))
        if self.word_starts:
            columns["word_starts"] = ragged(framing.of(words, np.bool_))
        if evaluating:
            columns["num_bytes"] = ragged(framing.of(sizes[0], np.int64))
        if (document_ids := self._document_ids(spans, numbers)) is not None:
            columns["document_ids"] = ragged(document_ids)
        return Examples(
            keys=keys,
            columns=columns | self._following(spans, evaluating=evaluating),
            counts={
                "tokens": int(spans.sizes.sum() - spans.context.sum()),
                "words": int(words.sum()),
            },
        )

    @abstractmethod
    def _spans(self, indices: Ints) -> tuple[Spans, Ints]:
        """Return the spans of some rows, and the number of spans in each row."""

    def _document_ids(self, spans: Spans, numbers: Ints) -> Ints | None:
        """Return the number of the document of each token within its row, (N,); None: no such
        column."""
        return None

    def _following(self, spans: Spans, *, evaluating: bool) -> dict[str, Column]:
        """Return the columns of the tokens that follow the rows; none by default."""
        return {}

    def first(self, number: int) -> Self:
        """Return the first `number` rows."""
        part = copy.copy(self)
        part.number = min(number, self.number)
        return part

    def describe(self) -> str:
        """Return the counts of the text and of its rows in one line."""
        stream = self.stream
        left_over = f", {self.left_over:,} left over" if self.left_over else ""
        repeated = f", {self.repeated:,} repeated as context" if self.repeated else ""
        rows = f"{len(self) - self.unread:,} {self.shape}"
        return (
            f"{stream.documents:,} documents, {stream.words:,} words, {stream.bytes:,} bytes, "
            f"{len(stream):,} tokens in {rows}{left_over}{repeated}"
        )

    @property
    def totals(self) -> dict[str, int]:
        """Tokens and words of the stream, read or not."""
        return {"tokens": len(self.stream), "words": self.stream.words}

    def figures(self) -> dict[str, float]:
        """Return `unknown_share`: the share of the text, in bytes, that the tokenizer does not
        know."""
        facts = self.stream.facts
        return {"unknown_share": facts.unknown_bytes / facts.bytes if facts.bytes else 0.0}

    @property
    def left_over(self) -> int:
        """Tokens of the stream that no pass reads."""
        return self.dropped

    @property
    @abstractmethod
    def shape(self) -> str:
        """Description of the rows."""


class Blocks(TokenExamples):
    """The joined documents, cut into parts of one length.

    Args:
        content: tokens of the stream in one block.
        keep_rest: keep the last, shorter block. If not, its tokens are `dropped`.
        following: read the token after each block too, for a model that carries its state.
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
        return f"blocks of {self.content}"

    @property
    def left_over(self) -> int:
        return self.dropped + self.unread * self.content

    def _spans(self, indices: Ints) -> tuple[Spans, Ints]:
        starts, each = indices * self.content, np.ones(len(indices), np.int64)
        sizes = np.minimum(self.content, len(self.stream) - starts)
        spans = Spans(
            starts=starts,
            sizes=sizes,
            context=0 * each,
            before=each > 0,
            after=each > 0,
            lengths=sizes + len(self.before) + len(self.after),
        )
        return spans, each

    def _following(self, spans: Spans, *, evaluating: bool) -> dict[str, Column]:
        if not self.following:
            return {}
        stops = spans.starts + spans.sizes
        # tokens that are left over are not predicted
        known = stops < len(self.stream) - self.left_over
        sources = {"following": (self.stream.tokens, IGNORE_INDEX)}
        if evaluating:
            sources["following_bytes"] = (self.stream.num_bytes, 0)
        columns: dict[str, Column] = {}
        for name, (source, filler) in sources.items():
            values = np.full(len(stops), filler)
            if known.any():
                (values[known],) = read_stretches(
                    [source], stops[known], np.ones_like(stops[known])
                )
            columns[name] = values
        return columns


class PackedDocuments(TokenExamples):
    """Documents packed into rows, numbered within each row; a long one is cut into several rows.

    Each further row of a document begins with `overlap` repeated tokens as context.

    Args:
        length: maximum of tokens in a row, with frames.
        document_frame: ids that the stream has around each document.
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
    ) -> None:
        super().__init__(stream, frame=frame, word_starts=word_starts)
        self.length = length
        # a frame that the stream already has is not added twice
        framed = [
            bool(len(own)) and list(own) == list(ids)
            for own, ids in zip(document_frame, (self.before, self.after), strict=True)
        ]
        self.spans = spans_of(
            stream.document_ends,
            length=length,
            overlap=overlap,
            before=len(self.before),
            after=len(self.after),
            framed=(framed[0], framed[1]),
        )
        # (S,) spans in the order of the rows, (R,) number of spans up to the end of each row
        self.order, self.row_ends = pack(self.spans.lengths, length)
        self.number = len(self.row_ends)
        self.repeated = int(self.spans.context.sum())

    @property
    def shape(self) -> str:
        filled = self.spans.lengths.sum() / max(self.number * self.length, 1)
        return f"rows of {self.length} ({filled:.1%} full)"

    def _spans(self, indices: Ints) -> tuple[Spans, Ints]:
        ends = self.row_ends[indices]
        firsts = np.where(indices > 0, self.row_ends[indices - 1], 0)
        return self.spans.chosen(self.order[positions(firsts, ends - firsts)]), ends - firsts

    def _document_ids(self, spans: Spans, numbers: Ints) -> Ints:
        places = positions(np.zeros(len(numbers), np.int64), numbers)  # of spans in their row
        return np.repeat(places, spans.lengths)
