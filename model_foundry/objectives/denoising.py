"""Span denoising of texts by encoder-decoders (Raffel et al. 2020, arXiv:1910.10683)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseModel
from model_foundry.data_collators import Collator
from model_foundry.data_collators.denoising import SpanDenoisingCollator, sentinels
from model_foundry.evaluation.target_leaks import require_no_target_leak
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.objectives.base import Inspection, Prepared
from model_foundry.objectives.language import LanguageObjective
from model_foundry.tokenizer.framing import block_frame


class SpanDenoising(LanguageObjective):
    """Write the hidden spans of a text, given the rest of it. Each block is framed as a source."""

    @property
    def added_tokens(self) -> Sequence[str]:
        data, settings = self.config.data, self.settings
        text = data.content_tokens or data.max_sequence_length - self.spec.framing_tokens
        return sentinels(text, settings.hidden_share, settings.mean_span_length)

    def frame(self, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
        return block_frame(tokenizer)

    def collator(self, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> Collator:
        return SpanDenoisingCollator(
            tokenizer,
            self.added_tokens,
            share=self.settings.hidden_share,
            mean=self.settings.mean_span_length,
            seed=seed,
        )

    def inspect(self) -> Inspection:
        found = super().inspect()
        # each target begins with a special token; one that is yet to be trained has no id
        return replace(found, model_arguments={"eos_token_id": 0} | found.model_arguments)

    @property
    def prediction_rule(self) -> str:
        share, mean = self.settings.hidden_share, self.settings.mean_span_length
        hidden = f"{share:.0%} of the tokens that are not special, in spans of {mean:g} on average"
        return f"{hidden}, drawn again in each pass; the sentinels before them; the end"

    def scored(self, labels: Tensor) -> Tensor:
        return labels != IGNORE_INDEX

    def check_model(self, model: BaseModel, prepared: Prepared) -> None:
        """Check that no target is predicted from itself."""
        require_no_target_leak(model, prepared.first_batch(), self.config.training.mixed_precision)

    def result_facts(self, prepared: Prepared, model: BaseModel, run: Path) -> dict[str, Any]:
        """Return those of a language model, which this is not: it neither continues nor scores."""
        facts = super().result_facts(prepared, model, run)
        other = {"generates": None, "next_command": None, "mask_token": None}
        return facts | other | {"loss_unit": "nats per target" if facts["loss_unit"] else None}
