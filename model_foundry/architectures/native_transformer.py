"""Transformers made of this package's own parts: a decoder and an encoder.

The networks are in `modeling/modeling_transformer.py`, which is saved with each model.
"""

from pathlib import Path
from typing import Any, ClassVar, Self, cast

from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from model_foundry.architectures.hf_language_model import HFLanguageModel
from model_foundry.architectures.hf_model import HFModel
from model_foundry.architectures.kernels.attention_choice import FLASH
from model_foundry.architectures.modeling.configuration_transformer import TransformerConfig
from model_foundry.architectures.modeling.modeling_transformer import (
    TransformerForCausalLM,
    TransformerForMaskedLM,
    TransformerModel,
)
from model_foundry.architectures.registration import register_architecture
from model_foundry.architectures.saving.hf_format import without_progress_bars
from model_foundry.architectures.saving.native_format import Record, saved_class
from model_foundry.architectures.saving.published_weights import from_published, to_published
from model_foundry.architectures.transformer import Transformer
from model_foundry.config import ExperimentConfig
from model_foundry.config.backbone import BackboneConfig
from model_foundry.config.target_lengths import positions_needed
from model_foundry.errors import ConfigError

AutoConfig.register(TransformerConfig.model_type, TransformerConfig, exist_ok=True)
for auto_class, model_class in (
    (AutoModel, TransformerModel),
    (AutoModelForCausalLM, TransformerForCausalLM),
    (AutoModelForMaskedLM, TransformerForMaskedLM),
):
    auto_class.register(TransformerConfig, model_class, exist_ok=True)


def attention_kernel(config: ExperimentConfig) -> str:
    """Return the attention implementation, by its name in transformers.

    Raises:
        ConfigError: the experiment asks for flash attention by name.
    """
    asked = config.training.attn_implementation
    if asked == FLASH:
        raise ConfigError(
            f"training.attn_implementation (={FLASH}) does not fit {config.model.architecture}, "
            "whose kernel is torch's; set it to auto or sdpa."
        )
    return "sdpa" if asked == "auto" else asked


def num_positions_of(config: ExperimentConfig) -> int:
    """Return the positions of a model, by default those of the longest source or target.

    Raises:
        ConfigError: a text is longer than the learned positions.
    """
    length = config.data.max_sequence_length
    positions: int = config.model.section.max_position_embeddings or positions_needed(config)
    if positions < length and config.model.section.positions == "learned":
        begun = config.model.init_from is not None  # the weights have that many positions
        raise ConfigError(
            f"data.max_sequence_length (={length}) exceeds model.backbone.max_position_embeddings "
            f"(={positions}); lower the first{'' if begun else ' or raise the second'}."
        )
    return positions


class NativeModel(HFModel):
    """A model of any kind that is made of this package's own blocks."""

    hf_config_class: ClassVar[Any] = TransformerConfig

    @classmethod
    def build(cls, config: ExperimentConfig, hf_config: Any) -> Self:
        """Create a model with random weights and the attention of the experiment."""
        kernel = attention_kernel(config)
        return cls(
            cls.hf_class(hf_config)._from_config(hf_config, attn_implementation=kernel), hf_config
        )

    @classmethod
    def hf_fields(cls, config: ExperimentConfig) -> Record:
        """Return the fields of `TransformerConfig` from `model.backbone`."""
        section: BackboneConfig = config.model.section
        return {
            "hidden_size": section.hidden_size,
            "num_hidden_layers": section.layers,
            "num_attention_heads": section.attention_heads,
            "intermediate_size": section.feed_forward.hidden_size,
            "activation": section.feed_forward.activation,
            "positions": section.positions,
            "norm": section.norm.kind,
            "norm_place": section.norm.place,
            "embedding_norm": section.norm.on_embeddings,
            "initializer_range": section.initializer_range,
            "norm_eps": section.norm.eps,
            "bias": section.bias,
            "dropout": section.dropout,
            "attention_dropout": section.attention_dropout,
            "tie_word_embeddings": section.tie_word_embeddings,
            "max_position_embeddings": num_positions_of(config),
        }

    @property
    def num_positions(self) -> int | None:
        """The number of learned positions; None: a text may have any length."""
        fields = self.hf_config
        return int(fields.max_position_embeddings) if fields.positions == "learned" else None

    @property
    def attention_in_use(self) -> str:
        """The attention kernel, by its name in transformers."""
        return str(self.hf_model.config._attn_implementation)


class NativeTransformer(NativeModel, HFLanguageModel):
    """A language model that is one stack of this package's own blocks."""

    @classmethod
    def from_pretrained(cls, directory: str | Path, **kwargs: Any) -> Self:
        """Load a saved model; a decoder also reads GPT-2, and an encoder BERT, to the same logits.

        Segments of BERT other than the first are lost.

        Raises:
            ConfigError: the directory holds no model, or one of another architecture.
        """
        _, registered = saved_class(Path(directory))
        if not issubclass(registered, Transformer) or registered.native_class() is not (
            cls.hf_class(None)
        ):
            return super().from_pretrained(directory, **kwargs)
        model = registered.load_directory(Path(directory), **kwargs)
        network = model.hf_model if model.is_native else from_published(model.hf_model)
        return cls(network, network.config)

    def save_published(self, directory: str | Path) -> None:
        """Write a plain directory of GPT-2 (a decoder) or BERT (an encoder) with these weights.

        Raises:
            ConfigError: GPT-2 or BERT lacks one of the settings.
        """
        try:
            published = to_published(self.hf_model)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        with without_progress_bars():
            published.save_pretrained(directory)
        self.save_generation_config(directory)

    def call_arguments(
        self, input_ids: Tensor, attention_mask: Tensor | None, document_ids: Tensor | None
    ) -> dict[str, Any]:
        """Pass the document ids on; the network keeps documents apart.

        Raises:
            ValueError: the block exceeds the learned positions.
        """
        self.require_positions(block=input_ids.shape[1])
        usual = super().call_arguments(input_ids, attention_mask, None)
        return usual | {"document_ids": document_ids}


@register_architecture("transformer_decoder")
class TransformerDecoder(NativeTransformer):
    """A causal transformer, in the manner of GPT (Radford et al. 2018, 2019)."""

    model_type = "transformer_decoder"
    supports_generation = True

    @classmethod
    def hf_class(cls, hf_config: Any) -> Any:
        """Return `TransformerForCausalLM`."""
        return TransformerForCausalLM

    @classmethod
    def hf_fields(cls, config: ExperimentConfig) -> Record:
        """Return the fields of `TransformerConfig` from `model.backbone`."""
        return {"layout": "decoder"} | super().hf_fields(config)

    def output_features(self, hidden: Tensor) -> Tensor:
        """Return the hidden states, the input of the output matrix."""
        return hidden


@register_architecture("transformer_encoder")
class TransformerEncoder(NativeTransformer):
    """A transformer that sees both sides, in the manner of BERT (Devlin et al. 2019)."""

    model_type = "transformer_encoder"
    supports_generation = False

    @classmethod
    def hf_class(cls, hf_config: Any) -> Any:
        """Return `TransformerForMaskedLM`."""
        return TransformerForMaskedLM

    @classmethod
    def hf_fields(cls, config: ExperimentConfig) -> Record:
        """Return the fields of `TransformerConfig` from `model.backbone`."""
        return {"layout": "encoder"} | super().hf_fields(config)

    def output_features(self, hidden: Tensor) -> Tensor:
        """Return the hidden states after the layer before the output matrix."""
        return cast(Tensor, self.hf_model.head(hidden))
