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
            mlm_probability_end=training.mlm_probability_end,
        )

    def evaluation_collator(self, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> Collator:
        """Return the collator of evaluations, which hides a share of its own if one is set."""
        share = {"mlm_probability": self._share(True), "mlm_probability_end": None}
        training = self.config.training.model_copy(update=share)
        config = self.config.model_copy(update={"training": training})
        return type(self)(config).collator(tokenizer, seed=seed)

    def _share(self, evaluating: bool) -> float:
        """Return the share of tokens that are hidden, in training its mean over the run."""
        training = self.config.training
        first, last = training.mlm_probability, training.mlm_probability_end
        if evaluating:
            return training.mlm_eval_probability or first
        return first if last is None else (first + last) / 2

    @property
    def needs_word_starts(self) -> bool:
        """True under word and span masking."""
        return self.config.training.mlm_masking != "token"

    @property
    def prediction_rule(self) -> str:
        if type(self) is not MaskedLM:  # a subclass may predict other tokens
            return super().prediction_rule
        first, last = self.config.training.mlm_probability, self.config.training.mlm_probability_end
        changing = "" if last in (None, first) else f" at the first step, {last:.0%} at the last"
        rule = f"about {first:.0%} of the tokens that are not special{changing}, drawn again in "
        rule += "each pass"
        evaluated = self._share(True)
        return (
            rule
            if not changing and first == evaluated
            else f"{rule}; {evaluated:.0%} in evaluations"
        )

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
