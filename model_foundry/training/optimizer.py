"""AdamW, with weight decay on matrices only (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from model_foundry.config import TrainingConfig


def decay_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], weight_decay: float
) -> list[dict[str, Any]]:
    """Divide the trainable parameters into those with and those without weight decay.

    Matrices and embeddings decay; vectors (biases, gains of normalisation layers) do not.
    """
    trainable = [parameter for _, parameter in parameters if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Return the optimizer of a model. The loop sets the learning rate before each update."""
    return torch.optim.AdamW(
        decay_groups(model.named_parameters(), config.weight_decay),
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        fused=config.speed.fused_optimizer or None,  # None: torch chooses another way
    )
