"""Several documents in one row: the positions of their tokens, and who sees whom.

`document_ids` gives each token the number of its document; padding has -1. What a recurrent model
makes of them stands in `modeling/layers_recurrent.py`.

Letters of shapes: B rows, T positions.
"""

import torch
from torch import Tensor

PADDING_ID = -1


def without_padding(document_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return the ids (B, T) with -1 at all padding, also where only the mask (B, T) tells of it.

    Raises:
        ValueError: the two are not of one shape.
    """
    if attention_mask is None:
        return document_ids
    if attention_mask.shape != document_ids.shape:
        raise ValueError(
            f"document_ids has the shape {tuple(document_ids.shape)}, attention_mask "
            f"{tuple(attention_mask.shape)}; give both for the same tokens."
        )
    return document_ids.masked_fill(attention_mask == 0, PADDING_ID)


def same_document(document_ids: Tensor) -> Tensor:
    """Return which two tokens are of one document, (B, T, T) bool, given the ids (B, T).

    Padding is a document too: a token that sees nothing has no softmax.
    """
    return document_ids[:, :, None] == document_ids[:, None, :]


def positions_within(same: Tensor) -> Tensor:
    """Return the number of tokens of its document before each token, (B, T), given (B, T, T)."""
    return same.tril(-1).sum(-1)


def as_scores(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what eager attention adds to its scores, 0 where a token is seen and else the least.

    Args:
        visible: bool, of any shape.
        dtype: of the scores.
    """
    scores = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return scores.masked_fill(~visible, torch.finfo(dtype).min)
