"""Counts of the tokens of a text in one pass over it: in rows, repeated, left over."""

from dataclasses import dataclass

from model_foundry.data.batches.rows import Blocks, DocumentRows, Rows


@dataclass(frozen=True, kw_only=True)
class EpochCounts:
    """The tokens of a text in one pass."""

    framed: int
    """Tokens of the stream, those that frame documents included."""
    rows: int
    """Rows that are read."""
    shape: str
    """A description of the rows, to print."""
    in_rows: int
    """Tokens of the stream in these rows; one that is in two rows counts twice."""
    repeated: int
    """Tokens in a second row, as context."""
    left_over: dict[str, int]
    """Tokens in no row that is read, by the reason."""
    framing: int
    """Tokens that are added around rows, or around the documents in them."""

    @property
    def adds_up(self) -> bool:
        """True if each token of the stream is in a row or left over."""
        return self.framed == self.in_rows - self.repeated + sum(self.left_over.values())


def pass_over(rows: Rows, *, number: int) -> EpochCounts:
    """Count the tokens of a pass that reads the first `number` rows."""
    assert isinstance(rows, Blocks | DocumentRows)  # there are no others
    counted = _of_blocks(rows, number) if isinstance(rows, Blocks) else _of_documents(rows)
    assert counted.adds_up, counted
    return counted


def _of_blocks(rows: Blocks, number: int) -> EpochCounts:
    framed = len(rows.stream)
    left_over = {
        "blocks that fill no lane": (len(rows) - number) * rows.content,
        "rest of the last block": rows.dropped,
    }
    return EpochCounts(
        framed=framed,
        rows=number,
        shape=rows.shape,
        in_rows=min(number * rows.content, framed),
        repeated=0,
        left_over={reason: tokens for reason, tokens in left_over.items() if tokens},
        framing=number * (len(rows.before) + len(rows.after)),
    )


def _of_documents(rows: DocumentRows) -> EpochCounts:
    in_rows = int(rows.spans.sizes.sum())
    return EpochCounts(
        framed=len(rows.stream),
        rows=len(rows),
        shape=rows.shape,
        in_rows=in_rows,
        repeated=rows.repeated,
        left_over={},
        framing=int(rows.spans.lengths.sum()) - in_rows,
    )


def predicted_from_the_left(rows: Rows, counted: EpochCounts) -> int:
    """Count the tokens that have others before them in the rows of a pass, without context."""
    if isinstance(rows, DocumentRows):
        return counted.in_rows - rows.repeated - int((rows.spans.context == 0).sum())
    assert isinstance(rows, Blocks)
    targets = counted.in_rows - counted.rows  # the first token of each block has nothing before it
    if rows.following and counted.rows:  # it is the last target of the block before
        targets += counted.rows - 1
    return targets
