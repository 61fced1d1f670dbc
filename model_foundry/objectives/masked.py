"""Masked language modelling (Devlin et al. 2019, arXiv:1810.04805)."""

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model_foundry.config import ExperimentConfig
from model_foundry.data_collators import Collator, MaskedLMDataCollator
from model_foundry.errors import DataError
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.objectives.base import Objective


class MaskedLM(Objective):
    """Predict hidden tokens from both sides. Each block is framed `[CLS] ... [SEP]`."""

    def frame(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
        for first, last in (("cls", "sep"), ("bos", "eos")):
            frame = [getattr(tokenizer, f"{role}_token_id") for role in (first, last)]
            if None not in frame:
                return frame[:1], frame[1:]
        raise DataError(
            "the tokenizer has no cls and sep (or bos and eos) tokens, which frame the blocks of a "
            "masked objective; use another tokenizer"
        )

    def collator(self, config: ExperimentConfig, tokenizer: PreTrainedTokenizerBase) -> Collator:
        training = config.training
        return MaskedLMDataCollator(
            tokenizer,
            mlm_probability=training.mlm_probability,
            seed=config.seeds.data,
            masking=training.mlm_masking,
            span_length=training.mlm_span_length,
        )

    def needs_word_starts(self, config: ExperimentConfig) -> bool:
        """Return True under word and span masking."""
        return config.training.mlm_masking != "token"

    def scored(self, labels: Tensor) -> Tensor:
        return labels != IGNORE_INDEX
