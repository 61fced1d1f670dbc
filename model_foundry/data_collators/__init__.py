"""Collators, which turn examples into the tensors of a batch."""

from transformers import PreTrainedTokenizerBase

from model_foundry.config import OBJECTIVES, ExperimentConfig
from model_foundry.data_collators.base import Collator
from model_foundry.data_collators.causal import CausalLMDataCollator
from model_foundry.data_collators.masked import MaskedLMDataCollator
from model_foundry.data_collators.padding import PaddingCollator
from model_foundry.errors import ConfigError

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
        ConfigError: it reads no token stream.
        UnknownNameError: the objective is not registered.
        DataError: the tokenizer lacks a token that the objective needs.
    """
    name = config.training.objective
    if not OBJECTIVES[name].reads_token_stream:
        law = f"{name!r} reads no token stream, and has no collator of token rows"
        raise ConfigError(f"training.objective: {law}; call objectives.preparation.prepare(config)")
    objective = OBJECTIVES.load(name)(config)
    collator: Collator = objective.collator(tokenizer, seed=config.seeds.data)
    return collator
