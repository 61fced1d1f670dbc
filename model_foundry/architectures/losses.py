"""The losses of language models and classifiers, shared by every architecture.

Letters of shapes: B rows, C classes, T positions, V vocabulary.
"""

import torch.nn.functional as F
from torch import Tensor

from model_foundry.errors import ConfigError
from model_foundry.foundation.labels import IGNORE_INDEX


def shifted(labels: Tensor, positions: int | None = None) -> Tensor:
    """Return labels (B, T) in which position t holds the token that follows it.

    Args:
        labels: (B, T), whose last position has no successor and is ignored; or (B, T + 1), whose
            last column is the token that follows the row.
        positions: T; None: there is no such column.
    """
    successors = labels[:, 1:]
    if successors.shape[1] == positions:
        return successors
    return F.pad(successors, (0, 1), value=IGNORE_INDEX)


def masked_lm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats where `labels` is not `IGNORE_INDEX`.

    Without any label the loss is zero and has a graph: its gradients are zero too.

    Args:
        logits: (..., V), in any float type; summed in fp32.
        labels: (...).
    """
    flat = logits.flatten(0, -2).float()
    total = F.cross_entropy(flat, labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (labels != IGNORE_INDEX).sum().clamp(min=1)


def causal_lm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of predicting, at each position, the next label.

    Args:
        logits: (B, T, V).
        labels: (B, T) or (B, T + 1), see `shifted`; `IGNORE_INDEX` is not predicted.
    """
    return masked_lm_loss(logits, shifted(labels, logits.shape[1]))


def classification_loss(logits: Tensor, labels: Tensor | None) -> Tensor | None:
    """Return the mean loss of a classifier in nats; None without labels.

    Integer labels are classes, each example of one: cross-entropy. Real ones are 0 or 1 for each
    class, of which an example may have any number: binary cross-entropy, a mean over examples and
    classes. Without any label the loss is zero and has a graph.

    Args:
        logits: (..., C), in any float type.
        labels: (...) of integers, where `IGNORE_INDEX` is not predicted; or (..., C) of reals.
    """
    if labels is None:
        return None
    if not labels.is_floating_point():
        return masked_lm_loss(logits, labels)
    given = logits.float(), labels.float()
    total = F.binary_cross_entropy_with_logits(*given, reduction="sum")
    return total / max(1, labels.numel())


def language_model_loss(logits: Tensor, labels: Tensor | None, *, causal: bool) -> Tensor | None:
    """Return the loss of a causal or of a masked model; None without labels.

    Raises:
        ConfigError: the labels are not (B, T).
    """
    if labels is None:
        return None
    require_rows(labels)
    return causal_lm_loss(logits, labels) if causal else masked_lm_loss(logits, labels)


def require_rows(labels: Tensor) -> None:
    """Require a label for each token.

    Raises:
        ConfigError: the labels are not (B, T).
    """
    if labels.dim() != 2:
        found = f"gives labels of the shape {tuple(labels.shape)}"
        law = "a language model learns one for each token, (B, T)"
        remedy = "use an objective and a model of another kind, or correct the labels"
        raise ConfigError(f"training.objective: {found}, but {law}; {remedy}")


def labelled(hidden: Tensor, labels: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
    """Return the rows of hidden (B, T, H) that predict a label, (N, H), and the labels, (N,).

    On a GPU a causal model keeps all rows with a successor, some with `IGNORE_INDEX`: selecting
    rows would make the host wait for their number.

    Args:
        labels: (B, T), or (B, T + 1) as in `shifted`.

    Raises:
        ConfigError: the labels are not (B, T).
        ValueError: their number does not fit.
    """
    require_rows(labels)
    extra = labels.shape[1] - hidden.shape[1]
    if extra not in ((0, 1) if causal else (0,)):
        raise ValueError(f"labels of {labels.shape[1]} positions for {hidden.shape[1]} tokens")
    if causal:
        successors = labels[:, 1:]
        hidden, labels = hidden[:, : successors.shape[1]], successors
    rows, targets = hidden.flatten(0, 1), labels.flatten()
    if causal and hidden.is_cuda:
        return rows, targets
    where = (targets != IGNORE_INDEX).nonzero().squeeze(1)
    if len(where) == len(targets):
        return rows, targets
    # the backward pass of index_select is faster than that of rows[where]
    return rows.index_select(0, where), targets.index_select(0, where)
