"""From blocks to labelled batches: one collator an objective.

Labels are -100 where nothing is to be predicted. They follow from the lengths of the rows, never
from the pad id: a tokenizer may pad with its end-of-sequence token, whose real occurrences count.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model_foundry.config import OBJECTIVES, ExperimentConfig
from model_foundry.errors import DataError
from model_foundry.labels import IGNORE_INDEX


def _row(feature: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the real tokens of a row."""
    ids = np.asarray(feature["input_ids"])
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(f"input_ids must be one row of integers, got {feature['input_ids']!r}")
    if "attention_mask" in feature:
        ids = ids[np.asarray(feature["attention_mask"]).astype(bool)]
    return ids.astype(np.int64)


class Collator(ABC):
    """Pads rows to one length and leaves the labels to the subclass."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, pad_to_multiple_of: int | None = None
    ) -> None:
        if pad_to_multiple_of is not None and pad_to_multiple_of < 1:
            raise ValueError(f"pad_to_multiple_of must be positive, got {pad_to_multiple_of}")
        self.pad_to_multiple_of = pad_to_multiple_of
        self.pads_left = tokenizer.padding_side == "left"
        self.pad_id = next(
            (i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), None
        )

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Collate rows of `input_ids`, with an `example_id` (pass, index) or without.

        Where a row has an `attention_mask`, its padding is taken off first.

        Returns:
            `input_ids`, `attention_mask` (1 on real tokens) and `labels`, each (B, T) int64, where
            T is the longest row, or the next multiple of `pad_to_multiple_of`.
        """
        rows = [_row(feature) for feature in features]
        if not rows:
            raise ValueError("a batch needs at least one row")
        ids, mask = self._pad(rows)
        labels = np.full_like(ids, IGNORE_INDEX)
        for index, feature in enumerate(features):
            real = mask[index].astype(bool)
            ids[index, real], labels[index, real] = self._label(
                rows[index], feature.get("example_id")
            )
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "labels": torch.from_numpy(labels),
        }

    def _pad(self, rows: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        longest = max(map(len, rows))
        width = -(-longest // (self.pad_to_multiple_of or 1)) * (self.pad_to_multiple_of or 1)
        if self.pad_id is None and any(len(row) < width for row in rows):
            raise DataError("the tokenizer has neither a pad nor an eos token to pad with")
        ids = np.full((len(rows), width), self.pad_id or 0, dtype=np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            real = slice(width - len(row), width) if self.pads_left else slice(0, len(row))
            ids[index, real] = row
            mask[index, real] = 1
        return ids, mask

    @abstractmethod
    def _label(
        self, row: NDArray[np.int64], example_id: tuple[int, int] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the ids that the model reads and the labels, both as long as `row`."""


class CausalLMDataCollator(Collator):
    """Each token is to be predicted from those before it; the model shifts the labels.

    Args:
        tokenizer: gives the pad token and the padding side.
        mlm: must be False.
        mlm_probability: has no meaning here.
        pad_to_multiple_of: width of a batch is a multiple of this; None: of 1.
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

    def _label(
        self, row: NDArray[np.int64], example_id: tuple[int, int] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        labels = row.copy()
        if self.pads_left and len(labels):
            labels[0] = IGNORE_INDEX  # after padding, its left neighbour is no context
        return row, labels


class MaskedLMDataCollator(Collator):
    """Some tokens are hidden and to be restored (Devlin et al. 2019, arXiv:1810.04805).

    Of the chosen tokens 80% become the mask token, 10% a random token and 10% stay. Special tokens
    are neither chosen nor drawn. What is chosen is a function of the seed and the example's id; a
    row without an id draws from the collator's own generator.

    Args:
        tokenizer: gives the mask, special and pad tokens.
        mlm: must be True.
        mlm_probability: chance of each token to be chosen.
        pad_to_multiple_of: width of a batch is a multiple of this; None: of 1.
        seed: of the masks.

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
    ) -> None:
        if not mlm:
            raise ValueError("mlm=False belongs to CausalLMDataCollator")
        if not 0 < mlm_probability < 1:
            raise ValueError(f"mlm_probability must lie between 0 and 1, got {mlm_probability}")
        if tokenizer.mask_token_id is None:
            raise DataError("the tokenizer has no mask token, which a masked objective needs")
        super().__init__(tokenizer, pad_to_multiple_of=pad_to_multiple_of)
        self.mlm_probability, self.seed = mlm_probability, seed
        self.mask_id: int = tokenizer.mask_token_id
        self.special_ids = np.array(sorted(tokenizer.all_special_ids), dtype=np.int64)
        self.ordinary_ids = np.setdiff1d(np.arange(len(tokenizer)), self.special_ids)
        self._generator = np.random.default_rng(seed)

    def _label(
        self, row: NDArray[np.int64], example_id: tuple[int, int] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        generator = (
            self._generator
            if example_id is None
            else np.random.default_rng([self.seed, *example_id])
        )
        choice, fate, draw = generator.random((3, len(row)))
        chosen = (choice < self.mlm_probability) & ~np.isin(row, self.special_ids)
        drawn = self.ordinary_ids[(draw * len(self.ordinary_ids)).astype(np.int64)]
        read = np.where(fate < 0.8, self.mask_id, np.where(fate < 0.9, drawn, row))
        return np.where(chosen, read, row), np.where(chosen, row, IGNORE_INDEX)


def get_data_collator(config: ExperimentConfig, tokenizer: PreTrainedTokenizerBase) -> Collator:
    """Return the collator of the objective that `config.training.objective` names.

    Raises:
        UnknownNameError: the objective is not registered.
        DataError: the tokenizer lacks a token that the objective needs.
    """
    objective = OBJECTIVES.load(config.training.objective)()
    collator: Collator = objective.collator(config, tokenizer)
    return collator
