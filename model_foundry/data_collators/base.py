"""The base class of collators: examples are padded and joined to the tensors of a batch.

Labels are -100 at positions without a target. They depend on the lengths of the rows and never on
the pad id: a tokenizer may pad with its end-of-sequence token, which is a target in a text.

Letters of shapes: B rows, T positions, N tokens without padding in all rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model_foundry.data.batches.examples import Examples, Ragged
from model_foundry.errors import DataError
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.foundation.token_roles import first_token_id

Feature = Mapping[str, Any]
NO_DOCUMENT = -1  # the document id of padding
OF_TOKENS: dict[str, type] = {
    "document_ids": np.int64,
    "is_context": np.bool_,
    "word_starts": np.bool_,
    "num_bytes": np.int64,
}
"""Columns that rows may have beside `input_ids`, with an entry for each token."""


def tokens_of(examples: Examples) -> Ragged:
    """Return the column `input_ids`."""
    ids = examples.columns["input_ids"]
    assert isinstance(ids, Ragged)
    return ids


def values_of(examples: Examples, name: str) -> NDArray[Any] | None:
    """Return the entries of a ragged column, (N,); None: the examples do not have it."""
    column = examples.columns.get(name)
    return column.values if isinstance(column, Ragged) else None


def begins(examples: Examples) -> NDArray[np.bool_]:
    """Return (N,) True for the first token of a document or a row."""
    ids, documents = tokens_of(examples), values_of(examples, "document_ids")
    first = np.zeros(len(ids.values), bool)
    first[ids.bounds[:-1][ids.bounds[:-1] < ids.bounds[1:]]] = True
    if documents is not None:
        first[1:] |= documents[1:] != documents[:-1]
    return first


def _row(feature: Feature) -> NDArray[np.integer[Any]]:
    ids = np.asarray(feature["input_ids"])
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(f"input_ids must be one row of integers, got {feature['input_ids']!r}")
    return ids if "attention_mask" not in feature else ids[_real(feature)]


def _real(feature: Feature) -> Any:
    """Return an index of the tokens of a row that are not padding."""
    mask = feature.get("attention_mask")
    return slice(None) if mask is None else np.asarray(mask).astype(bool)


def _column(name: str, features: Sequence[Feature], ids: Ragged) -> Ragged:
    having = [feature for feature in features if name in feature]
    columns = [np.asarray(feature[name])[_real(feature)] for feature in having]
    if [column.shape for column in columns] != [(length,) for length in ids.lengths]:
        raise ValueError(
            f"{name} must be in all rows of a batch or in none, with an entry for each token"
        )
    return Ragged(np.concatenate(columns).astype(OF_TOKENS[name]), ids.bounds)


def examples_of(features: Sequence[Feature]) -> Examples:
    """Return single rows as examples, without padding; raise a ValueError if they are invalid."""
    if not features:
        raise ValueError("a batch needs at least one row")
    ids = Ragged.of([_row(feature) for feature in features])
    ids = Ragged(ids.values.astype(np.int64), ids.bounds)
    given = [name for name in OF_TOKENS if any(name in feature for feature in features)]
    return Examples(
        keys=[feature.get("example_id") for feature in features],  # type: ignore[misc]
        columns={"input_ids": ids, **{name: _column(name, features, ids) for name in given}},
        counts={},
    )


class Collator(ABC):
    """Makes the tensors of a batch out of rows of tokens."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, *, pad_to_multiple_of: int | None = None
    ) -> None:
        if pad_to_multiple_of is not None and pad_to_multiple_of < 1:
            raise ValueError(f"pad_to_multiple_of must be positive, got {pad_to_multiple_of}")
        self.pad_to_multiple_of = pad_to_multiple_of
        self.pads_left = tokenizer.padding_side == "left"
        self.pad_id = first_token_id(tokenizer, "pad", "eos")

    def __call__(self, features: Sequence[Feature]) -> dict[str, Tensor]:
        """Collate rows of `input_ids`.

        They may have an `example_id` (pass, index) and, each as long as `input_ids`,
        `document_ids`, `is_context` and `word_starts`; see `TokenExamples`. If a row has an
        `attention_mask`, its padding is removed first.

        Returns:
            The tensors of `collate`, and always an `attention_mask`.

        Raises:
            ValueError: the rows are invalid, or lack a column that the objective needs.
            DataError: there is no token to pad with.
        """
        batch = self.collate(examples_of(features))
        return {"attention_mask": torch.ones_like(batch["input_ids"])} | batch

    @abstractmethod
    def collate(self, examples: Examples) -> dict[str, Tensor]:
        """Collate examples with the columns of `TokenExamples`.

        Returns:
            `input_ids` (B, T), `attention_mask` (B, T) if there is padding, 1 at real tokens,
            `labels` and, in the shape of these, `num_bytes` if the examples have it.
        """


class AlignedCollator(Collator):
    """Pads rows of tokens to one length; a subclass makes labels, one for each token."""

    def collate(self, examples: Examples) -> dict[str, Tensor]:
        """Collate examples with the columns of `TokenExamples`.

        Returns:
            `input_ids`, `attention_mask` if there is padding, `labels` and, if the examples have
            them, `document_ids` (-1 at padding) and `num_bytes`, each (B, T) int64, where T is the
            length of the longest row, or the next multiple of `pad_to_multiple_of`.
        """
        rows = tokens_of(examples)
        real = self._real_positions(rows.lengths)
        ids, labels = self._label(examples)
        is_context = values_of(examples, "is_context")
        if is_context is not None:
            labels = np.where(is_context, IGNORE_INDEX, labels)
        elif np.may_share_memory(ids, labels):
            labels = labels.copy()  # changes of one must not change the other
        batch = {
            "input_ids": lay_out(ids, real, self.pad_id or 0),
            "labels": lay_out(labels, real, IGNORE_INDEX),
        }
        if len(ids) < real.size:
            batch["attention_mask"] = torch.from_numpy(real.astype(np.int64))
        for name, filler in (("document_ids", NO_DOCUMENT), ("num_bytes", 0)):
            if (values := values_of(examples, name)) is not None:
                batch[name] = lay_out(values, real, filler)
        return batch

    def _real_positions(self, lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the positions that are not padding, (B, T), given the lengths of rows."""
        width = padded_width(lengths, self.pad_to_multiple_of)
        if self.pad_id is None and lengths.min() < width:
            raise DataError("the tokenizer has neither a pad nor an eos token to pad with")
        return real_positions(lengths, width, left=self.pads_left)

    @abstractmethod
    def _label(self, examples: Examples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the ids that the model reads and the labels, (N,) each; labels of context are
        removed later."""


def padded_width(lengths: NDArray[np.int64], multiple_of: int | None = None) -> int:
    """Return the length of the longest row, or the next multiple."""
    multiple = multiple_of or 1
    return -(-int(lengths.max()) // multiple) * multiple


def real_positions(
    lengths: NDArray[np.int64], width: int, *, left: bool = False
) -> NDArray[np.bool_]:
    """Return the positions that are not padding, (B, T); `left`: padding is on the left."""
    distance = np.arange(width)[:: -1 if left else 1]  # from the side opposite the padding
    return distance < lengths[:, None]


def lay_out(values: NDArray[Any], real: NDArray[np.bool_], filler: float) -> Tensor:
    """Return values (N, ...) as a batch (B, T, ...), with the filler at padding."""
    shape = (*real.shape, *values.shape[1:])
    if len(values) == real.size:  # no padding
        return torch.from_numpy(values.reshape(shape))
    batch = np.full(shape, filler, dtype=values.dtype)
    batch[real] = values  # row by row, as they are ordered
    return torch.from_numpy(batch)
