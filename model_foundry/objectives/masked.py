"""Masked language modelling (Devlin et al. 2019, arXiv:1810.04805)."""

from collections.abc import Callable

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model_foundry.data.batches.pass_counts import EpochCounts
from model_foundry.data.batches.token_examples import TokenExamples
from model_foundry.data_collators import Collator, MaskedLMDataCollator
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.objectives.language import LanguageObjective
from model_foundry.tokenizer.framing import block_frame


class MaskedLM(LanguageObjective):
    """Predict hidden tokens from both sides. Each block is framed `[CLS] ... [SEP]`."""

    def frame(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
        return block_frame(tokenizer)

    def collator(self, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> Collator:
        training = self.config.training
        return MaskedLMDataCollator(
            tokenizer,
            mlm_probability=training.mlm_probability,
            seed=seed,
            masking=training.mlm_masking,
            span_length=training.mlm_span_length,
        )

    def evaluation_collator(self, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> Collator:
        """Return the collator of evaluations, which hides a share of its own if one is set."""
        training = self.config.training.model_copy(update={"mlm_probability": self._share(True)})
        config = self.config.model_copy(update={"training": training})
        return type(self)(config).collator(tokenizer, seed=seed)

    def _share(self, evaluating: bool) -> float:
        training, own = self.config.training, self.config.training.mlm_eval_probability
        return own if evaluating and own is not None else training.mlm_probability

    @property
    def needs_word_starts(self) -> bool:
        """True under word and span masking."""
        return self.config.training.mlm_masking != "token"

    @property
    def prediction_rule(self) -> str:
        if type(self) is not MaskedLM:  # a subclass may predict other tokens
            return super().prediction_rule
        trained, evaluated = self._share(False), self._share(True)
        rule = f"about {trained:.0%} of the tokens that are not special, drawn again in each pass"
        return rule if trained == evaluated else f"{rule}; {evaluated:.0%} in evaluations"

    def targets_of(
        self,
        examples: TokenExamples,
        counted: EpochCounts,
        specials: Callable[[int], int],
        *,
        evaluating: bool = False,
    ) -> int | None:
        if type(self) is not MaskedLM:
            return None
        once = counted.in_rows - counted.repeated
        return round(self._share(evaluating) * (once - specials(once)))

    def scored(self, labels: Tensor) -> Tensor:
        return labels != IGNORE_INDEX
