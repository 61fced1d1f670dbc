"""T5: an encoder-decoder with relative positions (Raffel et al. 2020, arXiv:1910.10683), from
transformers."""

from typing import Any, Self

from transformers import T5Config, T5ForConditionalGeneration

from model_foundry.architectures.encoder_decoder import (
    HFEncoderDecoder,
    padded_by_end,
    require_one_vocabulary,
)
from model_foundry.architectures.registration import register_architecture
from model_foundry.architectures.saving.native_format import Record
from model_foundry.config import ExperimentConfig, TransformerModelConfig


@register_architecture("t5", kind="encoder_decoder")
class T5Model(HFEncoderDecoder):
    """An encoder and a decoder of equal size, with tied embeddings and any number of positions."""

    hf_config_class = T5Config
    model_type = "t5"

    @classmethod
    def hf_class(cls, hf_config: Any) -> Any:
        """Return `T5ForConditionalGeneration`."""
        return T5ForConditionalGeneration

    @classmethod
    def check_settings(cls, config: ExperimentConfig) -> None:
        """Require one tokenizer for sources and targets.

        Raises:
            ConfigError: the targets have their own.
        """
        require_one_vocabulary(config)

    @classmethod
    def from_config(cls, config: ExperimentConfig, **arguments: Any) -> Self:
        """Create a model with random weights, whose targets begin with the pad token, as published.

        Args:
            config: the experiment; see `hf_fields`.
            **arguments: fields of `T5Config`, such as `vocab_size`, and ids of special tokens.

        Raises:
            ConfigError: the sources have a vocabulary of their own.
        """
        cls.check_settings(config)
        ids = padded_by_end(arguments)
        return super().from_config(config, **ids, decoder_start_token_id=ids["pad_token_id"])

    @classmethod
    def hf_fields(cls, config: ExperimentConfig) -> Record:
        """Return the fields of `T5Config` from `model.transformer`."""
        section: TransformerModelConfig = config.model.section
        return {
            "d_model": section.hidden_size,
            "d_kv": section.hidden_size // section.attention_heads,
            "d_ff": section.intermediate_hidden_size,
            "num_layers": section.layers,
            "num_heads": section.attention_heads,
            "dropout_rate": section.dropout,
            "feed_forward_proj": section.activation_function,
        }
