"""The base classes of the transformers: positions, attention, separate documents."""

from typing import Any, Self

import torch
from torch import Tensor

from model_foundry.architectures.document_masks import (
    as_scores,
    positions_within,
    same_document,
    without_padding,
)
from model_foundry.architectures.hf_language_model import HFLanguageModel
from model_foundry.architectures.hf_model import HFModel
from model_foundry.architectures.kernels.attention_choice import ISOLATING, choose_attention
from model_foundry.config import ExperimentConfig


class HFTransformer(HFModel):
    """A model of any kind with a limited number of positions and a choice of attention kernels."""

    @classmethod
    def build(cls, config: ExperimentConfig, hf_config: Any) -> Self:
        """Create a model with random weights and the attention of the experiment."""
        implementation, _ = choose_attention(
            config.training.attn_implementation,
            device_type="cuda" if torch.cuda.is_available() else "cpu",
            mixed_precision=config.training.mixed_precision,
            packed_documents=config.data.packing == "documents",
        )
        hf_model = cls.hf_class(hf_config)._from_config(
            hf_config, attn_implementation=implementation
        )
        return cls(hf_model, hf_config)

    @property
    def num_positions(self) -> int:
        """The number of positions."""
        return int(self.hf_model.config.max_position_embeddings)

    @property
    def attention_in_use(self) -> str:
        """The attention kernel, by its name in transformers."""
        return str(self.hf_model.config._attn_implementation)


class Transformer(HFTransformer, HFLanguageModel):
    """A language model that is a transformer."""

    def call_arguments(
        self, input_ids: Tensor, attention_mask: Tensor | None, document_ids: Tensor | None
    ) -> dict[str, Any]:
        """Number the tokens of each document from 0, with padding on either side.

        Raises:
            ValueError: the block exceeds the positions, or the kernel cannot separate documents.
        """
        length = input_ids.shape[1]
        if length > self.num_positions:
            raise ValueError(
                f"a block of {length} tokens exceeds the {self.num_positions} positions of this "
                f"{self.model_type} (max_position_embeddings); shorten the block."
            )
        usual = super().call_arguments(input_ids, attention_mask, None)
        if document_ids is not None:
            usual |= self._separate(without_padding(document_ids, attention_mask))
        elif attention_mask is not None:
            positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
            usual["position_ids"] = positions[:, -length:]
        return usual

    def _separate(self, document_ids: Tensor) -> dict[str, Tensor]:
        """Return mask and positions that keep documents apart, given ids (B, T)."""
        if self.attention_in_use not in ISOLATING:
            raise ValueError(
                f"attention {self.attention_in_use!r} cannot keep the documents of a row apart; "
                f"load the model with attn_implementation {' or '.join(ISOLATING)}."
            )
        same = same_document(document_ids)
        # transformers uses a mask of four dimensions unchanged, without making it causal
        visible = (same.tril() if self.is_causal else same)[:, None]  # (B, 1, T, T)
        if self.attention_in_use == "eager":
            visible = as_scores(visible, self.hf_model.dtype)
        return {"attention_mask": visible, "position_ids": positions_within(same)}
