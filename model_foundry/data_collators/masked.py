"""Labels for bidirectional models: hidden tokens and their replacements.

`masking` draws words and spans.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from model_foundry.data.batches.examples import Examples
from model_foundry.data_collators.base import AlignedCollator, begins, tokens_of, values_of
from model_foundry.data_collators.masking import (
    NOT_HIDDEN,
    Masking,
    draw_spans,
    draw_words,
    find_words,
    row_generators,
)
from model_foundry.errors import DataError
from model_foundry.foundation.labels import IGNORE_INDEX

Drawn = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
"""For the hidden tokens, (K,) each: position, draw of the kind of replacement, draw of a token."""


class MaskedLMDataCollator(AlignedCollator):
    """Labels for restoring hidden tokens (Devlin et al. 2019, arXiv:1810.04805).

    80% of the hidden tokens become the mask token, 10% a random token, and 10% stay. This is drawn
    for each token, or once for all tokens of a word or span, as in SpanBERT; BERT's own code for
    whole words draws it for each token. Special tokens are neither hidden nor drawn; context is not
    hidden. The seed and the example's id determine the hidden tokens; a row without an id draws
    from the collator's own generator.

    Args:
        tokenizer: has the mask, special and pad tokens.
        mlm: must be True.
        mlm_probability: expected share of hidden tokens.
        pad_to_multiple_of: the width of a batch is a multiple of this; None: of 1.
        seed: seed of the masks.
        masking: unit of hiding: token, word, or span of words. Words and spans need rows with
            `word_starts`.
        span_length: mean number of words in a span.
        mlm_probability_end: share at the last step of a run, to which that of the first changes
            linearly; None: it does not change.

    Raises:
        DataError: the tokenizer has no mask token.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        mlm: bool = True,
        mlm_probability: float = 0.15,
        pad_to_multiple_of: int | None = None,
        *,
        seed: int = 0,
        masking: Masking = "token",
        span_length: float = 3.0,
        mlm_probability_end: float | None = None,
    ) -> None:
        if not mlm:
            raise ValueError("mlm=False belongs to CausalLMDataCollator")
        if not 0 < mlm_probability < 1:
            raise ValueError(f"mlm_probability must lie between 0 and 1, got {mlm_probability}")
        if span_length < 1:
            raise ValueError(f"span_length must be at least 1, got {span_length}")
        if tokenizer.mask_token_id is None:
            raise DataError("the tokenizer has no mask token, which a masked objective needs")
        super().__init__(tokenizer, pad_to_multiple_of=pad_to_multiple_of)
        self.mlm_probability, self.seed = mlm_probability, seed
        self.mlm_probability_end = mlm_probability_end
        self.masking, self.span_length = masking, span_length
        self.mask_id: int = tokenizer.mask_token_id
        self.special_ids = np.array(sorted(tokenizer.all_special_ids), dtype=np.int64)
        self.ordinary_ids = np.setdiff1d(np.arange(len(tokenizer)), self.special_ids)
        # a table, since np.isin would take more time than the rest
        self.is_special = np.zeros(max(len(tokenizer), self.special_ids[-1] + 1), bool)
        self.is_special[self.special_ids] = True
        self._generator = np.random.default_rng(seed)

    def share_at(self, progress: float) -> float:
        """Return the expected share of hidden tokens when a share of the run is over, 0 to 1."""
        first, last = self.mlm_probability, self.mlm_probability_end
        return first if last is None else first + (last - first) * progress

    def _label(self, examples: Examples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ids, is_context = tokens_of(examples).values, values_of(examples, "is_context")
        maskable = ~self.is_special[ids]
        if is_context is not None:
            maskable &= ~is_context
        draw = self._draw_tokens if self.masking == "token" else self._draw_groups
        hidden, fate, which = draw(examples, maskable)
        read, labels = ids.copy(), np.full(len(ids), IGNORE_INDEX)
        original = labels[hidden] = ids[hidden]
        drawn = self.ordinary_ids[(which * len(self.ordinary_ids)).astype(np.int64)]
        read[hidden] = np.where(fate < 0.8, self.mask_id, np.where(fate < 0.9, drawn, original))
        return read, labels

    def _generators(self, examples: Examples) -> Iterator[tuple[np.random.Generator, slice]]:
        return row_generators(examples, self.seed, self._generator)

    def _draw_tokens(self, examples: Examples, maskable: NDArray[np.bool_]) -> Drawn:
        draws = np.empty((3, len(maskable)))
        for generator, tokens in self._generators(examples):
            draws[:, tokens] = generator.random((3, tokens.stop - tokens.start))
        hidden = ((draws[0] < self.share_at(examples.progress)) & maskable).nonzero()[0]
        return hidden, draws[1, hidden], draws[2, hidden]

    def _draw_groups(self, examples: Examples, maskable: NDArray[np.bool_]) -> Drawn:
        word_starts = values_of(examples, "word_starts")
        if word_starts is None:
            raise ValueError(
                f"mlm_masking {self.masking!r} needs the starts of words: give each row "
                "`word_starts`, a bool for each token, or use mlm_masking 'token'"
            )
        words = find_words(
            word_starts,
            maskable=maskable,
            begins=begins(examples),
            bounds=tokens_of(examples).bounds,
        )
        sizes, is_adjacent = words.sizes.tolist(), words.is_adjacent.tolist()
        hides, fate = np.empty(len(sizes), bool), np.empty(len(sizes))  # of each word
        which, share = np.empty(len(maskable)), self.share_at(examples.progress)
        for index, (generator, tokens) in enumerate(self._generators(examples)):
            part = slice(*words.bounds[index : index + 2])
            group = self._draw_row(sizes[part], is_adjacent[part], share, generator)
            hides[part], fate[part] = group != NOT_HIDDEN, generator.random(len(group))[group]
            which[tokens] = generator.random(tokens.stop - tokens.start)
        chosen = hides[words.of_token]
        hidden = maskable.nonzero()[0][chosen]
        return hidden, fate[words.of_token[chosen]], which[hidden]

    def _draw_row(
        self,
        sizes: list[int],
        is_adjacent: list[bool],
        share: float,
        generator: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Return the group of each word of a row, (W,)."""
        if self.masking == "word":
            return draw_words(len(sizes), share, generator)
        return draw_spans(sizes, is_adjacent, share, self.span_length, generator)
