"""Labels for models that read from left to right."""

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from model_foundry.data.batches.examples import Examples
from model_foundry.data_collators.base import AlignedCollator, begins, tokens_of
from model_foundry.foundation.labels import IGNORE_INDEX


class CausalLMDataCollator(AlignedCollator):
    """Labels for predicting each token from those before it; the model shifts the labels.

    If documents share a row, the first token of each document has no context and is no target.

    Args:
        tokenizer: has the pad token and the padding side.
        mlm: must be False.
        mlm_probability: not used.
        pad_to_multiple_of: the width of a batch is a multiple of this; None: of 1.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        mlm: bool = False,
        mlm_probability: float | None = None,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        if mlm:
            raise ValueError("mlm=True belongs to MaskedLMDataCollator")
        super().__init__(tokenizer, pad_to_multiple_of=pad_to_multiple_of)

    def _label(self, examples: Examples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ids = tokens_of(examples).values
        # padding on the left is no context for the first token of a row either
        without_context = self.pads_left or "document_ids" in examples.columns
        return ids, np.where(begins(examples), IGNORE_INDEX, ids) if without_context else ids
