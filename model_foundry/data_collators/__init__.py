"""Collators, one for each objective, which turn rows into labelled batches."""

from transformers import PreTrainedTokenizerBase

from model_foundry.config import OBJECTIVES, ExperimentConfig
from model_foundry.data_collators.base import Collator, Rows
from model_foundry.data_collators.causal import CausalLMDataCollator
from model_foundry.data_collators.masked import MaskedLMDataCollator

__all__ = [
    "CausalLMDataCollator",
    "Collator",
    "MaskedLMDataCollator",
    "Rows",
    "get_data_collator",
]


def get_data_collator(config: ExperimentConfig, tokenizer: PreTrainedTokenizerBase) -> Collator:
    """Return the collator of the objective that `config.training.objective` names.

    Raises:
        UnknownNameError: the objective is not registered.
        DataError: the tokenizer lacks a token that the objective needs.
    """
    objective = OBJECTIVES.load(config.training.objective)()
    collator: Collator = objective.collator(config, tokenizer)
    return collator
