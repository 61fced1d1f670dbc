"""Keys and values of the tokens read so far, so that each further token costs one step.

They are kept in transformers' own caches, which its `generate()` knows how to reorder, repeat and
crop.

Letters of shapes: B rows, T new positions, S all positions, N heads, D width of a head.
"""

from collections.abc import Callable

from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache


def new_cache(*, cross_attention: bool = False) -> Cache:
    """Return an empty cache, for a decoder with or without cross-attention."""
    if cross_attention:
        return EncoderDecoderCache(DynamicCache(), DynamicCache())
    return DynamicCache()


class LayerCache:
    """The part of a cache that belongs to one block.

    Args:
        cache: of all blocks; an `EncoderDecoderCache` where there is cross-attention.
        layer: index of the block, from 0.
    """

    def __init__(self, cache: Cache, layer: int):
        self.cache, self.layer = cache, layer

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append those of new tokens, (B, N, T, D), and return all, (B, N, S, D)."""
        is_pair = isinstance(self.cache, EncoderDecoderCache)
        own = self.cache.self_attention_cache if is_pair else self.cache
        return own.update(keys, values, self.layer)

    def once(self, compute: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Return the keys and values of the memory, computed by the first call only."""
        cross, layer = self.cache.cross_attention_cache, self.layer
        if not self.cache.is_updated.get(layer):
            self.cache.is_updated[layer] = True
            return cross.update(*compute(), layer)
        return cross.layers[layer].keys, cross.layers[layer].values
