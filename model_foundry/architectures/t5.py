"""T5: an encoder-decoder with relative positions (Raffel et al. 2020, arXiv:1910.10683), from
transformers."""

from typing import Any, Self

from transformers import T5Config, T5ForConditionalGeneration

from model_foundry.architectures.encoder_decoder import HFEncoderDecoder, require_one_vocabulary
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
    def from_config(
        cls,
        config: ExperimentConfig,
        *,
        pad_token_id: int | None = None,
        eos_token_id: int | None = None,
        **arguments: Any,
    ) -> Self:
        """Create a model with random weights.

        Args:
            config: the experiment; see `hf_fields`.
            pad_token_id: begins each target, as published; None: the end token does.
            eos_token_id: ends each target.
            **arguments: further fields of `T5Config`, such as `vocab_size`.

        Raises:
            ConfigError: the sources have a vocabulary of their own.
        """
        cls.check_settings(config)
        pad = eos_token_id if pad_token_id is None else pad_token_id
        ids = {"pad_token_id": pad, "eos_token_id": eos_token_id, "decoder_start_token_id": pad}
        return super().from_config(config, **arguments, **ids)

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
