"""Causal language modelling: each token is predicted from those before it."""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model_foundry.data.batches.pass_counts import EpochCounts, predicted_from_the_left
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.data_collators import CausalLMDataCollator, Collator
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.objectives.language import LanguageObjective


class CausalLM(LanguageObjective):
    """Predict each token from those before it. The first token of a row has nothing before it."""

    def collator(self, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> Collator:
        return CausalLMDataCollator(tokenizer)

    @property
    def prediction_rule(self) -> str:
        if type(self) is not CausalLM:  # a subclass may predict other tokens
            return super().prediction_rule
        if self.config.data.packing == "documents":
            return "each token but the first of each document or part of one; context is not"
        if self.config.training.carry_state:
            return "each token but the first of a pass, since rows continue"
        return "each token but the first of each block"

    def targets_of(
        self,
        examples: TokenExamples,
        counted: EpochCounts,
        specials: Callable[[int], int],
        *,
        evaluating: bool = False,
    ) -> int | None:
        known = type(self) is CausalLM
        return predicted_from_the_left(examples, counted) if known else None

    def scored(self, labels: Tensor) -> Tensor:
        scored = labels != IGNORE_INDEX
        return torch.cat([torch.zeros_like(scored[:, :1]), scored[:, 1:]], dim=1)
