"""The base classes of the transformers: positions, attention, separate documents.

GPT-2 and BERT have two networks: transformers' class, and this package's own blocks.
"""

from pathlib import Path
from typing import Any, Final, Self

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
from model_foundry.architectures.implementation import choose_implementation
from model_foundry.architectures.kernels.attention_choice import ISOLATING, choose_attention
from model_foundry.architectures.modeling.modeling_transformer import TransformerLM
from model_foundry.architectures.saving.hf_format import without_progress_bars
from model_foundry.architectures.saving.native_format import ARCHITECTURE_KEY
from model_foundry.architectures.saving.published_weights import (
    LAYOUTS,
    from_published,
    native_config,
    to_published,
)
from model_foundry.config import ExperimentConfig
from model_foundry.errors import ConfigError

IMPLEMENTATION_KEY: Final = "foundry_implementation"
"""In a `config.json`, the network that wrote the directory and loads it again."""


class HFTransformer(HFModel):
    """A model of any kind with a limited number of positions and a choice of attention kernels."""

    @classmethod
    def build(cls, config: ExperimentConfig, hf_config: Any) -> Self:
        """Create a model with random weights and the attention of the experiment."""
        implementation, _ = choose_attention(
            config.training.attn_implementation,
            device_type="cpu"
            if config.training.use_cpu or not torch.cuda.is_available()
            else "cuda",
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
    """GPT-2 or BERT, of transformers' classes or of this package's own blocks.

    Either is saved as transformers saves it, and has the same weights in the same directory.
    """

    @classmethod
    def build(cls, config: ExperimentConfig, hf_config: Any) -> Self:
        """Create a model with random weights and the attention and network of the experiment."""
        native = cls.native_class()
        if native is None or choose_implementation(config) == "transformers":
            return super().build(config, hf_config)
        asked = config.training.attn_implementation
        network = native._from_config(
            native_config(hf_config), attn_implementation="sdpa" if asked == "auto" else asked
        )
        return cls(network, hf_config)

    @classmethod
    def native_class(cls) -> Any:
        """Return the class of its network of this package's own blocks; None: there is none."""
        name: Any = cls.model_type
        return LAYOUTS[name].native_class if name in LAYOUTS else None

    @property
    def is_native(self) -> bool:
        """True if the network is made of this package's own blocks."""
        return isinstance(self.hf_model, TransformerLM)

    @classmethod
    def load_directory(cls, directory: Path, **kwargs: Any) -> Self:
        """Load a HuggingFace directory, into the network that wrote it; see `HFModel`.

        Raises:
            ConfigError: the weights are missing or damaged, or do not fit the model.
        """
        model = super().load_directory(directory, **kwargs)
        named = getattr(model.hf_config, IMPLEMENTATION_KEY, "transformers")
        if named == "native":
            try:
                return cls(from_published(model.hf_model), model.hf_config)
            except ValueError as error:
                raise ConfigError(f"{directory}: the model cannot be loaded: {error}") from error
        return model

    def save_pretrained(self, directory: str | Path) -> None:
        """Write a HuggingFace directory for the Auto classes, the same for both networks."""
        if not self.is_native:
            super().save_pretrained(directory)
            return
        published = to_published(self.hf_model, self.hf_config)
        setattr(published.config, ARCHITECTURE_KEY, self.model_type)
        setattr(published.config, IMPLEMENTATION_KEY, "native")
        with without_progress_bars():
            published.save_pretrained(directory)
        self.save_generation_config(directory)

    def call_arguments(
        self, input_ids: Tensor, attention_mask: Tensor | None, document_ids: Tensor | None
    ) -> dict[str, Any]:
        """Number the tokens of each document from 0, with padding on either side.

        Raises:
            ValueError: the block exceeds the positions, or the kernel cannot separate documents.
        """
        self.require_positions(block=input_ids.shape[1])
        usual = super().call_arguments(input_ids, attention_mask, None)
        if self.is_native:
            return usual | {"document_ids": document_ids}
        if document_ids is not None:
            usual |= self._separate(without_padding(document_ids, attention_mask))
        elif attention_mask is not None:
            positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
            usual["position_ids"] = positions[:, -input_ids.shape[1] :]
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
