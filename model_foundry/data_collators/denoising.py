"""Span corruption: spans of a text are hidden, and an encoder-decoder writes them (Raffel et al.
2020, arXiv:1910.10683, sections 3.1.4 and 3.3.4).

    Thank you for inviting me to your party last week .
    reads:  Thank you <X> me to your party <Y> week .
    writes: <X> for inviting <Y> last <Z> and the end token

Letters of shapes: L tokens of a row, H of them hidden, S spans.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy
from transformers import PreTrainedTokenizerBase

from model_foundry.config.seq2seq import span_counts
from model_foundry.data.batches.examples import Examples, Ragged
from model_foundry.data_collators.base import (
    Collator,
    lay_out,
    padded_width,
    real_positions,
    tokens_of,
    values_of,
)
from model_foundry.data_collators.masking import row_generators
from model_foundry.errors import DataError
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.foundation.token_roles import first_token_id

SENTINEL = "<extra_id_%d>"  # their names in published T5 models
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def sentinels(length: int, share: float, mean: float) -> list[str]:
    """Return the names of the sentinels for rows of a length.

    There are twice as many as spans, since one that contains the end of a document or of the ring
    is two, and one that ends each target.
    """
    spans = span_counts(length, share, mean)[1]
    return [SENTINEL % number for number in range(2 * spans + 1)]


def draw_spans(length: int, share: float, mean: float, generator: np.random.Generator) -> Bools:
    """Return True at hidden tokens, (L,): spans of random lengths, with visible tokens between.

    Their numbers are not random; a text of one token is left as it is. As in seqio's `random_roll`
    the row is a ring, so that each token is hidden equally often: T5 itself always hides the last
    one, and in a short text, with one span, nothing but its end.
    """
    if length < 2:
        return np.zeros(length, bool)
    hidden, spans = span_counts(length, share, mean)
    lengths = [_random_parts(total, spans, generator) for total in (length - hidden, hidden)]
    drawn = np.repeat(np.tile([False, True], spans), np.stack(lengths, axis=1).ravel())
    return np.roll(drawn, generator.integers(length))


def _random_parts(total: int, parts: int, generator: np.random.Generator) -> Ints:
    """Return the sizes of parts, one at least, of which each division is equally likely."""
    cuts = np.sort(generator.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(cuts, prepend=0, append=total)


def first_of_spans(hidden: Bools) -> Bools:
    """Return True at the first token of each hidden span, (L,)."""
    first: Bools = hidden & ~np.append(False, hidden[:-1])
    return first


class SpanDenoisingCollator(Collator):
    """Rows with hidden spans as `input_ids`, and the hidden text as `labels` of another length.

    The seed and the example's id determine the spans; a row without an id draws from the
    collator's own generator. Special tokens and those of `is_context` stay visible, so that a span
    ends at them.

    Args:
        tokenizer: has the sentinels, an end token and a pad token.
        names: of the sentinels; if a row has more spans, its last ones stay visible.
        share: share of the tokens that is hidden.
        mean: mean number of tokens in a span.
        seed: seed of the spans.

    Raises:
        DataError: the tokenizer has no end token.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        names: Sequence[str],
        *,
        share: float = 0.15,
        mean: float = 3.0,
        seed: int = 0,
    ) -> None:
        super().__init__(tokenizer)
        end = first_token_id(tokenizer, "eos", "sep")
        if end is None:
            raise DataError("the tokenizer has no eos or sep token, which ends a target")
        self.share, self.mean, self.seed, self.end_id = share, mean, seed, end
        self.sentinel_ids = np.array(tokenizer.convert_tokens_to_ids(list(names)), np.int64)
        self.is_special = np.zeros(len(tokenizer), bool)
        self.is_special[[*tokenizer.all_special_ids, *self.sentinel_ids]] = True
        self._generator = np.random.default_rng(seed)

    def collate(self, examples: Examples) -> dict[str, Tensor]:
        """Collate examples with the columns of `TokenExamples`.

        Returns:
            `input_ids` (B, L), `attention_mask` if there is padding, `labels` (B, T) and, if the
            examples have it, `num_bytes` (B, T), which is 0 at sentinels and the end.
        """
        rows = tokens_of(examples)
        sizes, is_context = values_of(examples, "num_bytes"), values_of(examples, "is_context")
        may_be_hidden = ~self.is_special[rows.values]
        if is_context is not None:
            may_be_hidden &= ~is_context
        parts = [
            self._corrupted(
                rows.values[row],
                self._hidden(may_be_hidden[row], generator),
                None if sizes is None else sizes[row],
            )
            for generator, row in row_generators(examples, self.seed, self._generator)
        ]
        read, written, counted = (Ragged.of(part) for part in zip(*parts, strict=True))
        real = real_positions(read.lengths, padded_width(read.lengths))
        targets = real_positions(written.lengths, padded_width(written.lengths))
        batch = {
            "input_ids": lay_out(read.values, real, self.pad_id or 0),
            "labels": lay_out(written.values, targets, IGNORE_INDEX),
        }
        if not real.all():
            batch["attention_mask"] = from_numpy(real.astype(np.int64))
        if sizes is not None:
            batch["num_bytes"] = lay_out(counted.values, targets, 0)
        return batch

    def _corrupted(self, ids: Ints, hidden: Bools, sizes: Ints | None) -> tuple[Ints, Ints, Ints]:
        """Return what is read and written of a row, and the bytes of what is written."""
        first = first_of_spans(hidden)
        marks = self.sentinel_ids[: first.sum() + 1]
        read = ids.copy()
        read[first] = marks[:-1]
        places = np.flatnonzero(first[hidden])  # of each span among the hidden tokens
        written = np.insert(ids[hidden], places, marks[:-1])
        bytes_of = np.zeros(len(ids), np.int64) if sizes is None else sizes
        counted = np.insert(bytes_of[hidden], places, 0)
        return (
            read[~hidden | first],
            np.append(written, [marks[-1], self.end_id]),
            np.append(counted, [0, 0]),
        )

    def _hidden(self, may_be: Bools, generator: np.random.Generator) -> Bools:
        """Return True at the hidden tokens of a row, (L,), given those that may be hidden."""
        hidden = np.zeros(len(may_be), bool)
        hidden[may_be] = draw_spans(int(may_be.sum()), self.share, self.mean, generator)
        return hidden & (first_of_spans(hidden).cumsum() < len(self.sentinel_ids))
