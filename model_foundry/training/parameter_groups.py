"""Parameter groups of an optimizer, divided by what a parameter is."""

from typing import Any

from torch import Tensor, nn

Groups = list[dict[str, Any]]

MATRICES, OTHERS, VECTORS = "matrices", "others", "vectors"
"""Kinds of parameters: hidden matrices; embeddings, output layers and tensors of more than two
dimensions; biases and gains."""


def parameter_groups(model: nn.Module, weight_decay: float) -> Groups:
    """Return one group of trainable parameters for each kind, which may be empty.

    Each has `params`, `kind` and `weight_decay`. Vectors (biases, gains of normalization layers)
    do not decay.
    """
    outer, groups = _outer_matrices(model), dict[str, list[Tensor]]()
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups.setdefault(_kind_of(parameter, outer), []).append(parameter)
    decays = {MATRICES: weight_decay, OTHERS: weight_decay, VECTORS: 0.0}
    return [
        {"params": groups.get(kind, []), "kind": kind, "weight_decay": decay}
        for kind, decay in decays.items()
    ]


def _kind_of(parameter: Tensor, outer: set[int]) -> str:
    if parameter.dim() < 2:
        return VECTORS
    return MATRICES if parameter.dim() == 2 and id(parameter) not in outer else OTHERS


def _outer_matrices(model: nn.Module) -> set[int]:
    """Return the ids of the parameters of embeddings and of everything beside the body."""
    body = getattr(model, "base_model", model)
    inner = {id(parameter) for parameter in body.parameters()}
    found = {id(parameter) for parameter in model.parameters()} - inner
    for module in model.modules():
        # a body without a name is the whole model, its output layer included
        head = getattr(module, "get_output_embeddings", lambda: None)()
        for each in (module if isinstance(module, nn.Embedding) else None, head):
            found.update(id(p) for p in (each.parameters() if each is not None else ()))
    return found
