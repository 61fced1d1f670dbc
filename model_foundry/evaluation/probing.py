"""Changed inputs for a model, and a context in which its closed gates are open."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from model_foundry.architectures import BaseLanguageModel

LONGEST_ROW = 128  # tokens, for rows without padding
AWAKE = 0.1  # standard deviation of the weights that replace zeros


def two_rows(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return two rows of a batch, truncated if they have no padding; one row is repeated."""
    cut = LONGEST_ROW if "attention_mask" not in inputs else None
    rows = {name: tensor[:2, :cut] for name, tensor in inputs.items()}
    if len(inputs["input_ids"]) == 1:
        rows = {name: torch.cat((tensor, tensor)) for name, tensor in rows.items()}
    return rows


def other_tokens(ids: Tensor, real: Tensor, model: BaseLanguageModel) -> Tensor:
    """Return a different token for each, (B, T), out of those that occur."""
    known = torch.tensor(sorted(set(ids[real].tolist())), device=ids.device)
    if len(known) == 1:
        known = torch.cat((known, (known + 1) % model.vocabulary_size)).sort().values
    places = torch.searchsorted(known, ids.contiguous()).clamp(max=len(known) - 1)
    return known.roll(-1)[places]


def is_shard(tensor: Tensor) -> bool:
    """Return True for a `DTensor`, whose class takes half a second to import."""
    return hasattr(tensor, "device_mesh")


@contextmanager
def awake(model: nn.Module) -> Iterator[None]:
    """Replace weights that are all zero by random values; restore them after the block.

    They may be closed gates, which hide a leak until they open.
    """
    # sharded weights may have been gathered, apart from shards
    own = (p for p in model.parameters() if p.is_floating_point() and not is_shard(p))
    asleep = [(weight, weight.clone()) for weight in own if not weight.any()]
    generator = torch.Generator().manual_seed(0)
    try:
        for weight, _ in asleep:
            weight.copy_(AWAKE * torch.randn(weight.shape, generator=generator))
        yield
    finally:
        for weight, zeros in asleep:
            weight.copy_(zeros)
