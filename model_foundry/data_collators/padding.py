"""The collator of any columns: dense ones as they are, ragged ones padded with their filler."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from model_foundry.data.batches.examples import Examples, Ragged
from model_foundry.data_collators.base import lay_out, padded_width, real_positions


@dataclass(frozen=True)
class PaddingCollator:
    """Collates examples of any task; ragged columns are padded on the right."""

    fillers: Mapping[str, float] = field(default_factory=dict)
    """Value at the padding of each ragged column, by name; 0 for those left out."""
    masks: Mapping[str, str] = field(default_factory=dict)
    """Name of the mask of a ragged column, (B, T) with 1 for its entries; it is always there."""

    def __call__(self, examples: Examples) -> dict[str, Tensor]:
        """Return a tensor for each column: (B, ...), or (B, T) where T is its longest row."""
        batch = {}
        for name, column in examples.columns.items():
            if not isinstance(column, Ragged):
                batch[name] = torch.from_numpy(np.ascontiguousarray(column))
                continue
            real = real_positions(column.lengths, padded_width(column.lengths))
            batch[name] = lay_out(column.values, real, self.fillers.get(name, 0))
            if name in self.masks:
                batch[self.masks[name]] = torch.from_numpy(real.astype(np.int64))
        return batch
