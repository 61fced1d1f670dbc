"""Collators, which turn examples into the tensors of a batch."""

from transformers import PreTrainedTokenizerBase

from model_foundry.config import OBJECTIVES, ExperimentConfig
from model_foundry.data_collators.base import Collator
from model_foundry.data_collators.causal import CausalLMDataCollator
from model_foundry.data_collators.masked import MaskedLMDataCollator
from model_foundry.data_collators.padding import PaddingCollator

__all__ = [
    "CausalLMDataCollator",
    "Collator",
    "MaskedLMDataCollator",
    "PaddingCollator",
    "get_data_collator",
]


def get_data_collator(config: ExperimentConfig, tokenizer: PreTrainedTokenizerBase) -> Collator:
    """Return the collator of the objective that `config.training.objective` names.

    Raises:
        UnknownNameError: the objective is not registered.
        DataError: the tokenizer lacks a token that the objective needs.
    """
    objective = OBJECTIVES.load(config.training.objective)(config)
    collator: Collator = objective.collator(tokenizer, seed=config.seeds.data)
    return collator
