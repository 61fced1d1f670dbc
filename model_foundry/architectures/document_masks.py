"""Several documents in one row: positions and attention masks of transformers.

`document_ids` gives each token the number of its document, and -1 to padding. Recurrent models
handle them in `modeling/padding_recurrent.py`.

Letters of shapes: B rows, T positions.
"""

import torch
from torch import Tensor

PADDING_ID = -1


def without_padding(document_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Return the ids (B, T) with -1 at all padding, given the mask (B, T).

    Raises:
        ValueError: the shapes differ.
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
    """Return (B, T, T) bool, True for two tokens of one document, given the ids (B, T).

    Padding counts as a document: a token that sees nothing has no softmax.
    """
    return document_ids[:, :, None] == document_ids[:, None, :]


def positions_within(same: Tensor) -> Tensor:
    """Return the number of tokens of its document before each token, (B, T), given (B, T, T)."""
    return same.tril(-1).sum(-1)


def as_scores(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the bias of eager attention: 0 where `visible`, elsewhere the lowest number."""
    scores = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return scores.masked_fill(~visible, torch.finfo(dtype).min)
