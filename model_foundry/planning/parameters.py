"""The parameters of a model by part, and the operations that they take.

A training step takes 6 operations for each weight of a matrix and position: 2 in the forward pass,
4 in the backward pass (Kaplan et al. 2020, arXiv:2001.08361). Attention adds 12 L D T for L layers
of width D over rows of T positions, causal or not (Chowdhery et al. 2022, arXiv:2204.02311,
appendix B).
"""

from typing import Any

from torch import nn

from model_foundry.architectures import BaseLanguageModel, BaseModel
from model_foundry.planning.figures import Parameters

OPERATIONS_OF_A_WEIGHT, OPERATIONS_OF_ATTENTION = 6, 12
STACKS = (nn.ModuleList, nn.Sequential)


def count_parameters(model: BaseModel) -> Parameters:
    """Count the parameters of a model, which may be on the meta device."""
    parts = dict.fromkeys(("embeddings", "layers", "other", "head"), 0)
    tables, looked_up = _tables(model), 0
    for name, parameter in model.named_parameters():
        parts[_part_of(model, name)] += parameter.numel()
        looked_up += parameter.numel() if tables.get(id(parameter)) is False else 0
    matrices = sum(p.numel() for p in model.parameters() if p.dim() >= 2)
    return Parameters(
        total=model.get_parameter_count(),
        trainable=model.get_parameter_count(trainable_only=True),
        tied=any(tables.values()),
        multiplied=matrices - looked_up,
        **parts,
    )


def _tables(model: nn.Module) -> dict[int, bool]:
    """Return the parameters of embedding modules, by id: True if another module multiplies by it
    too."""
    tables, others = set[int](), set[int]()
    for module in model.modules():
        own = {id(parameter) for parameter in module.parameters(recurse=False)}
        (tables if isinstance(module, nn.Embedding) else others).update(own)
    return {table: table in others for table in tables}


def _part_of(model: BaseModel, name: str) -> str:
    """Return the part to which a parameter belongs."""
    path = name.split(".")[:-1]
    parents = [model.get_submodule(".".join(path[:depth])) for depth in range(len(path) + 1)]
    if not any(parent is model.base_model for parent in parents):
        return "head"
    if any(isinstance(parent, STACKS) for parent in parents):
        return "layers"
    owner = parents[-1]
    is_embedding = isinstance(owner, nn.Embedding) or any("embed" in part for part in path)
    return "embeddings" if is_embedding else "other"


def operations_per_position(
    model: BaseModel, counted: Parameters, positions: int | None
) -> tuple[float | None, float]:
    """Return the operations of a training step for each position, and those of attention in it.

    Args:
        positions: those of a row; None: the examples are no rows of one length.

    Returns:
        None and 0 if the formula does not hold: the model is no language model of one stack, learns
        by counting, or its attention is not known.
    """
    if positions is None or not counted.trainable or not isinstance(model, BaseLanguageModel):
        return None, 0.0
    attention = 0.0
    if model.attention_in_use is not None:
        sizes: Any = getattr(model, "hf_config", None)
        layers = getattr(sizes, "num_hidden_layers", None)
        width = getattr(sizes, "hidden_size", None)
        if not isinstance(layers, int) or not isinstance(width, int):
            return None, 0.0
        attention = float(OPERATIONS_OF_ATTENTION * layers * width * positions)
    return OPERATIONS_OF_A_WEIGHT * counted.multiplied + attention, attention
