"""Counts of the tokens of a text in one pass: in rows, repeated, left over."""

from dataclasses import dataclass

from model_foundry.data.batches.token_examples import Blocks, PackedDocuments, TokenExamples


@dataclass(frozen=True, kw_only=True)
class EpochCounts:
    """The tokens of a text in one pass."""

    framed: int
    """Tokens of the stream, with the frames of documents."""
    rows: int
    """TokenExamples that are read."""
    shape: str
    """Description of the rows."""
    in_rows: int
    """Tokens of the stream in these rows; a token in two rows counts twice."""
    repeated: int
    """Tokens that are in a second row, as context."""
    left_over: dict[str, int]
    """Tokens in none of these rows, by reason."""
    framing: int
    """Tokens added around rows, or around the documents in them."""

    @property
    def adds_up(self) -> bool:
        """True if each token of the stream is in a row or left over."""
        return self.framed == self.in_rows - self.repeated + sum(self.left_over.values())


def pass_over(rows: TokenExamples, *, number: int) -> EpochCounts:
    """Count the tokens of a pass that reads the first `number` rows."""
    framed, left_over = len(rows.stream), {}
    if isinstance(rows, PackedDocuments):
        number, in_rows = len(rows), int(rows.spans.sizes.sum())
        framing = int(rows.spans.lengths.sum()) - in_rows
    else:
        assert isinstance(rows, Blocks)  # there are no others
        in_rows = min(number * rows.content, framed)
        framing = number * (len(rows.before) + len(rows.after))
        left_over = {
            "blocks that fill no lane": (len(rows) - number) * rows.content,
            "rest of the last block": rows.dropped,
        }
    counted = EpochCounts(
        framed=framed,
        rows=number,
        shape=rows.shape,
        in_rows=in_rows,
        repeated=rows.repeated,
        left_over={reason: tokens for reason, tokens in left_over.items() if tokens},
        framing=framing,
    )
    assert counted.adds_up, counted
    return counted


def predicted_from_the_left(rows: TokenExamples, counted: EpochCounts) -> int:
    """Count the tokens of a pass that a causal model predicts: context is not predicted."""
    if isinstance(rows, PackedDocuments):
        return counted.in_rows - rows.repeated - int((rows.spans.context == 0).sum())
    assert isinstance(rows, Blocks)
    targets = counted.in_rows - counted.rows  # the first token of each block has no context
    if rows.following and counted.rows:  # it is the last target of the previous block
        targets += counted.rows - 1
    return targets
