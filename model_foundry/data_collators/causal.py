"""Labels for models that read from left to right."""

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from model_foundry.data_collators.base import Collator, Rows
from model_foundry.foundation.labels import IGNORE_INDEX


class CausalLMDataCollator(Collator):
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

    def _label(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        # padding on the left is no context for the first token of a row either
        without_context = self.pads_left or rows.document_ids is not None
        labels = np.where(rows.begins, IGNORE_INDEX, rows.ids) if without_context else rows.ids
        return rows.ids, labels
