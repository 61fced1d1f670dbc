"""Tensors of a directory under the names of a model: of its body, wherever that is, and converted
between the published layouts and ours.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, Final

import torch

from model_foundry.architectures.modeling.modeling_transformer import TransformerLM
from model_foundry.architectures.saving.published_weights import (
    OUTPUT_BIAS,
    SEGMENTS,
    Layout,
    Tensors,
    native_tensors,
    published_tensors,
)
from model_foundry.errors import ConfigError

# Tensors that add nothing to the last states of a body: what pools them, stored constants, and a
# table in the first directories of T5 that it never read
HARMLESS: Final = re.compile(
    r"(^|\.)(pooler\.|position_ids$|masked_bias$|attn\.bias$|attention\.bias$|.*inv_freq$"
    r"|EncDecAttention\.relative_attention_bias\.weight$)"
)
OURS: Final = f"{TransformerLM.base_model_prefix}."


class Mismatch(ConfigError):
    """Weights that do not fit; the message lacks the path, which the caller adds."""


def aligned(tensors: Tensors, body: Collection[str], prefix: str) -> Tensors:
    """Return tensors with those of the body below `prefix`, below which they may not have been.

    Args:
        body: names of the body's tensors, without a prefix.
    """
    found = Counter(
        name.removesuffix(own)
        for own in body
        for name in tensors
        if name == own or name.endswith(f".{own}")
    )
    if not found:
        raise Mismatch("holds none of the weights of this model; name another model")
    there = found.most_common(1)[0][0]
    return {
        (prefix + name.removeprefix(there))
        if name.startswith(there) and (there or name in body)
        else name: tensor
        for name, tensor in tensors.items()
    }


def strange_tensors(tensors: Tensors, prefix: str, known: Collection[str]) -> list[str]:
    """Return the names below a prefix that are neither known nor without effect."""
    below = [name for name in tensors if name.startswith(prefix)]
    return [name for name in below if name not in known and not HARMLESS.search(name)]


def _below(prefix: str, names: Iterable[str]) -> set[str]:
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


def to_native_names(layout: Layout, layers: int, tensors: Tensors, here: Any) -> Tensors:
    """Return GPT-2's or BERT's tensors in our layout, with the others under their own names."""
    theirs = {name for _, names, _ in layout.tensors(layers) for name in names}
    theirs |= {SEGMENTS, OUTPUT_BIAS}
    found = aligned(tensors, _below(layout.prefix, theirs), layout.prefix)
    rest = {name: tensor for name, tensor in found.items() if name not in theirs}
    return rest | native_tensors(layout, layers, found)


def to_published_names(layout: Layout, layers: int, tensors: Tensors, here: Any) -> Tensors:
    """Return tensors of our layout in that of GPT-2 or BERT, whose segments add nothing."""
    ours = {name for name, _, _ in layout.tensors(layers)}
    found = aligned(tensors, _below(OURS, ours), OURS)
    rest = {name: tensor for name, tensor in found.items() if name not in ours}
    if hasattr(here, "type_vocab_size"):
        rest[SEGMENTS] = torch.zeros(here.type_vocab_size, here.hidden_size)
    return rest | published_tensors(layout, layers, found)
