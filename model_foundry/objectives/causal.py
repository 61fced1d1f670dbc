"""Causal language modelling: each token is predicted from those before it."""

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model_foundry.config import ExperimentConfig
from model_foundry.data_collators import CausalLMDataCollator, Collator
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.objectives.base import Objective


class CausalLM(Objective):
    """Predict each token from those before it. The first token of a row has nothing before it."""

    def collator(self, config: ExperimentConfig, tokenizer: PreTrainedTokenizerBase) -> Collator:
        return CausalLMDataCollator(tokenizer)

    def scored(self, labels: Tensor) -> Tensor:
        scored = labels != IGNORE_INDEX
        return torch.cat([torch.zeros_like(scored[:, :1]), scored[:, 1:]], dim=1)
