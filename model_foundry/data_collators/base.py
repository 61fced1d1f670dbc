"""The base class of collators: features are read, padded and joined to a batch.

Labels are -100 at positions without a target. They depend on the lengths of the rows and never on
the pad id: a tokenizer may pad with its end-of-sequence token, which is a target in a text.

Letters of shapes: B rows, T positions, N tokens without padding in all rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model_foundry.errors import DataError
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.foundation.token_roles import first_token_id

Feature = Mapping[str, Any]

NO_DOCUMENT = -1  # the document id of padding


@dataclass(frozen=True)
class Rows:
    """The tokens of a batch without padding, row by row; None: not in the features."""

    ids: NDArray[np.int64]
    """(N,)."""
    bounds: NDArray[np.int64]
    """(B + 1,) first token of each row, and N."""
    example_ids: Sequence[tuple[int, int] | None]
    """Pass and index of each block."""
    document_ids: NDArray[np.int64] | None = None
    """(N,) number of the document, the same for all its tokens in a row."""
    is_context: NDArray[np.bool_] | None = None
    """(N,) True for tokens repeated from the previous row, which are no targets."""
    word_starts: NDArray[np.bool_] | None = None
    """(N,) True for tokens in which a word begins."""

    @property
    def begins(self) -> NDArray[np.bool_]:
        """(N,) True for the first token of a document or a row."""
        begins = np.zeros(len(self.ids), bool)
        begins[self.bounds[:-1][self.bounds[:-1] < self.bounds[1:]]] = True
        if self.document_ids is not None:
            begins[1:] |= self.document_ids[1:] != self.document_ids[:-1]
        return begins


def _row(feature: Feature) -> NDArray[np.integer[Any]]:
    ids = np.asarray(feature["input_ids"])
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(f"input_ids must be one row of integers, got {feature['input_ids']!r}")
    return ids if "attention_mask" not in feature else ids[_real(feature)]


def _real(feature: Feature) -> Any:
    """Return an index of the tokens of a row that are not padding."""
    mask = feature.get("attention_mask")
    return slice(None) if mask is None else np.asarray(mask).astype(bool)


def _column(name: str, features: Sequence[Feature], bounds: NDArray[np.int64], dtype: type) -> Any:
    """Return a column of all features, (N,), or None if no feature has it."""
    having = [feature for feature in features if name in feature]
    if not having:
        return None
    columns = [np.asarray(feature[name])[_real(feature)] for feature in having]
    if [column.shape for column in columns] != [(length,) for length in np.diff(bounds)]:
        raise ValueError(
            f"{name} must be in all rows of a batch or in none, with an entry for each token"
        )
    return np.concatenate(columns).astype(dtype)


def read_rows(features: Sequence[Feature]) -> Rows:
    """Return the tokens of the features without padding; raise a ValueError if they are invalid."""
    rows = [_row(feature) for feature in features]
    if not rows:
        raise ValueError("a batch needs at least one row")
    bounds = np.cumsum([0, *map(len, rows)])
    return Rows(
        ids=np.concatenate(rows).astype(np.int64),
        bounds=bounds,
        example_ids=[feature.get("example_id") for feature in features],
        document_ids=_column("document_ids", features, bounds, np.int64),
        is_context=_column("is_context", features, bounds, np.bool_),
        word_starts=_column("word_starts", features, bounds, np.bool_),
    )


class Collator(ABC):
    """Pads rows to one length; a subclass makes the labels."""

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
        `document_ids`, `is_context` and `word_starts`; see `Rows`. If a row has an
        `attention_mask`, its padding is removed first.

        Returns:
            `input_ids`, `attention_mask` (1 at real tokens), `labels` and, if the rows have them,
            `document_ids` (-1 at padding), each (B, T) int64, where T is the length of the longest
            row, or the next multiple of `pad_to_multiple_of`.

        Raises:
            ValueError: the rows are invalid, or lack a column that the objective needs.
            DataError: there is no token to pad with.
        """
        batch = self._collated(read_rows(features))
        return {"attention_mask": torch.ones_like(batch["input_ids"])} | batch

    @property
    def collate_joined(self) -> Callable[..., dict[str, Tensor]] | None:
        """A faster call for joined rows with the arguments of `Rows`; None if a subclass overrides
        the call. It returns an `attention_mask` only with padding."""
        own = type(self).__call__ is not Collator.__call__
        return None if own else lambda *columns, **named: self._collated(Rows(*columns, **named))

    def _collated(self, rows: Rows) -> dict[str, Tensor]:
        real = self._real_positions(np.diff(rows.bounds))
        ids, labels = self._label(rows)
        if rows.is_context is not None:
            labels = np.where(rows.is_context, IGNORE_INDEX, labels)
        elif np.may_share_memory(ids, labels):
            labels = labels.copy()  # changes of one must not change the other
        batch = {
            "input_ids": _laid_out(ids, real, self.pad_id or 0),
            "labels": _laid_out(labels, real, IGNORE_INDEX),
        }
        if len(ids) < real.size:
            batch["attention_mask"] = torch.from_numpy(real.astype(np.int64))
        if rows.document_ids is not None:
            batch["document_ids"] = _laid_out(rows.document_ids, real, NO_DOCUMENT)
        return batch

    def _real_positions(self, lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return the positions that are not padding, (B, T), given the lengths of rows."""
        multiple = self.pad_to_multiple_of or 1
        width = -(-int(lengths.max()) // multiple) * multiple
        if self.pad_id is None and lengths.min() < width:
            raise DataError("the tokenizer has neither a pad nor an eos token to pad with")
        distance = np.arange(width)[
            :: -1 if self.pads_left else 1
        ]  # from the side opposite the padding
        return distance < lengths[:, None]

    @abstractmethod
    def _label(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the ids that the model reads and the labels, (N,) each; labels of context are
        removed later."""


def _laid_out(values: NDArray[np.int64], real: NDArray[np.bool_], filler: int) -> Tensor:
    """Return values (N,) as a batch (B, T), with the filler at padding."""
    if values.size == real.size:  # no padding
        return torch.from_numpy(values.reshape(real.shape))
    batch = np.full(real.shape, filler, dtype=np.int64)
    batch[real] = values  # row by row, as they are ordered
    return torch.from_numpy(batch)
