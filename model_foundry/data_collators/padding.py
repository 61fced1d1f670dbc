"""The collator of any columns: dense ones as they are, ragged ones padded with their filler."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from model_foundry.data.batches.examples import Column, Examples, Ragged
from model_foundry.data_collators.base import lay_out, padded_width, real_positions
from model_foundry.errors import ConfigError
from model_foundry.foundation.labels import IGNORE_INDEX

LABELS = "labels"


@dataclass(frozen=True)
class PaddingCollator:
    """Collates examples of any task; ragged columns are padded on the right."""

    fillers: Mapping[str, float] = field(default_factory=dict)
    """Value at the padding of each ragged column, by name; for those left out, `IGNORE_INDEX` of
    `labels` and 0 of all others."""
    masks: Mapping[str, str] = field(default_factory=dict)
    """Name of the mask of a ragged column, (B, T) with 1 for its entries; it is always there."""

    def __call__(self, examples: Examples) -> dict[str, Tensor]:
        """Return a tensor for each column.

        Returns:
            (B, ...) of a dense column, (B, T, ...) of a ragged one, where T is its longest row.
            `labels` that are integers or truths become int64; all others keep their type.

        Raises:
            ConfigError: `labels` are ragged real numbers without a filler.
        """
        batch = {}
        for name, given in examples.columns.items():
            column = _with_long_labels(name, given)
            if not isinstance(column, Ragged):
                batch[name] = torch.from_numpy(np.ascontiguousarray(column))
                continue
            real = real_positions(column.lengths, padded_width(column.lengths))
            batch[name] = lay_out(column.values, real, self._filler(name, column))
            if name in self.masks:
                batch[self.masks[name]] = torch.from_numpy(real.astype(np.int64))
        return batch

    def _filler(self, name: str, column: Ragged) -> float:
        if name in self.fillers or name != LABELS:
            return self.fillers.get(name, 0)
        if column.values.dtype.kind not in "iu":
            raise ConfigError(
                f"training.objective: {name!r} are rows of real numbers, so their padding would "
                "count as targets; name its value in fillers, and leave it out in count_targets "
                "and aligned"
            )
        return IGNORE_INDEX


def _with_long_labels(name: str, column: Column) -> Column:
    """Return labels as int64, unless they are real numbers, and other columns as they are.

    The losses of torch need that type, and unsigned ones have no `IGNORE_INDEX`.
    """
    values = column.values if isinstance(column, Ragged) else column
    if name != LABELS or values.dtype.kind not in "biu":
        return column
    long = values.astype(np.int64, copy=False)
    return Ragged(long, column.bounds) if isinstance(column, Ragged) else long
