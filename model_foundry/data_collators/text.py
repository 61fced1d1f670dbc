"""The inputs of language models, made by any collator of token rows."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from model_foundry.architectures.plugin_check import plugin_fault
from model_foundry.data.batches.examples import Examples
from model_foundry.data_collators.base import Collator, lay_out, values_of
from model_foundry.foundation.labels import IGNORE_INDEX

AnyCollator = Callable[[Sequence[dict[str, Any]]], dict[str, Tensor]]
"""The collator of a plugin may be any function of dictionaries."""
OF_FEATURES = ("input_ids", "document_ids", "is_context", "word_starts")


def collate_text(
    examples: Examples, *, collator: AnyCollator, scored: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Collate examples of a token stream.

    Args:
        scored: returns the tokens that the loss counts, given the labels.

    Returns:
        The tensors of the collator, (B, T) each, without a mask if there is no padding: such a mask
        would prevent the fast path of attention and the packing of recurrent models. If rows
        continue in a later batch, `labels` is (B, T + 1): the token after a row is its last target.
        For an evaluation `scored_bytes`, in the shape of the labels, has the source bytes of the
        scored tokens.

    Raises:
        ConfigError: the collator gives no `input_ids` or no `labels`.
    """
    inputs = _collated(examples, collator)
    for name in ("input_ids", "labels"):
        if name not in inputs:
            law = f"must give a batch {name!r}; it gives {', '.join(inputs)}"
            raise plugin_fault(type(collator), "__call__", law)
    documents = values_of(examples, "document_ids")
    if documents is not None and not documents.any():
        inputs.pop("document_ids", None)
    sizes = inputs.pop("num_bytes", None)
    if "following" in examples.columns:
        following = _dense(examples, "following")
        mask = inputs.get("attention_mask")
        # after padding, a last column would not be the token after the row
        assert mask is None or bool((mask[:, -1:].bool() | (following == IGNORE_INDEX)).all())
        inputs["labels"] = torch.cat((inputs["labels"], following), dim=1)  # (B, T + 1)
        if sizes is not None:
            sizes = torch.cat((sizes, _dense(examples, "following_bytes")), dim=1)
    if sizes is not None:
        inputs["scored_bytes"] = sizes * scored(inputs["labels"])
    return inputs


def _dense(examples: Examples, name: str) -> Tensor:
    """Return a dense column (B,) as (B, 1)."""
    return torch.from_numpy(examples.columns[name])[:, None]


def _collated(examples: Examples, collator: AnyCollator) -> dict[str, Tensor]:
    if isinstance(collator, Collator) and type(collator).__call__ is Collator.__call__:
        return collator.collate(examples)
    columns = {name: c for name, c in examples.columns.items() if name in OF_FEATURES}
    single = Examples(keys=examples.keys, columns=columns, counts={})
    inputs = dict(collator(single.features()))
    real = inputs["attention_mask"].bool().numpy()
    if real.all():
        del inputs["attention_mask"]
    if (sizes := values_of(examples, "num_bytes")) is not None:
        inputs["num_bytes"] = lay_out(sizes, real, 0)
    return inputs
