"""The keys that each query may attend to: causal, padding and document masks in one place.

Masks of tokens are 1 for real tokens and 0 for padding. The masks of attention made of them are
boolean, True where a query sees a key.

Letters of shapes: B rows, T queries, S keys; the queries are the last T of the S positions.
"""

import torch
from torch import Tensor


def causal_mask(num_queries: int, num_keys: int, device: torch.device | None = None) -> Tensor:
    """Return (T, S): each query sees the keys up to its own position."""
    seen = torch.ones(num_queries, num_keys, dtype=torch.bool, device=device)
    return seen.tril(num_keys - num_queries)


def padding_mask(attention_mask: Tensor) -> Tensor:
    """Return (B, 1, 1, S), True at the real tokens of `attention_mask` (B, S)."""
    return attention_mask.bool()[:, None, None, :]


def document_mask(document_ids: Tensor) -> Tensor:
    """Return (B, 1, T, T): tokens of one document see each other; ids (B, T), -1 at padding."""
    return (document_ids[:, :, None] == document_ids[:, None, :])[:, None]


def combined_mask(
    num_queries: int,
    num_keys: int,
    attention_mask: Tensor | None = None,
    document_ids: Tensor | None = None,
    *,
    causal: bool = False,
    device: torch.device | None = None,
) -> Tensor | None:
    """Return the mask of all conditions together, (B or 1, 1, T or 1, S); None hides nothing.

    A query that would see no key sees all of them: a softmax over nothing is NaN, in the gradients
    too. Only padding is affected, and a source text that is all padding.

    Args:
        attention_mask: (B, S), 1 for real tokens; None: all are.
        document_ids: (B, T) of a whole text, T = S; None: each row is one document.
        causal: hide the keys after each query.
    """
    masks = []
    if causal and num_queries > 1:  # a single query is the last position and sees all
        masks.append(causal_mask(num_queries, num_keys, device)[None, None])  # (1, 1, T, S)
    if document_ids is not None:
        masks.append(document_mask(document_ids))
    if attention_mask is not None:
        masks.append(padding_mask(attention_mask))
    if not masks:
        return None
    seen = masks[0]
    for mask in masks[1:]:
        seen = seen & mask
    return seen if attention_mask is None else seen | ~seen.any(dim=-1, keepdim=True)


def with_bias(seen: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """Return what is added to the scores: `bias` (1, N, T, S) where a key is seen, else -inf.

    Without a bias the boolean mask is returned, and None without either.
    """
    if bias is None or seen is None:
        return seen if bias is None else bias
    return bias.masked_fill(~seen, -torch.inf)
