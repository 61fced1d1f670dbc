"""The encoder-decoder made of this package's own parts (Vaswani et al. 2017, arXiv:1706.03762).

The network is in `modeling/modeling_encoder_decoder.py`, which is saved with each model.
"""

from typing import Any, Self

from transformers import AutoModelForSeq2SeqLM

from model_foundry.architectures.encoder_decoder import HFEncoderDecoder, start_of
from model_foundry.architectures.modeling.configuration_transformer import TransformerConfig
from model_foundry.architectures.modeling.modeling_encoder_decoder import TransformerForSeq2SeqLM
from model_foundry.architectures.native_transformer import NativeModel
from model_foundry.architectures.registration import register_architecture
from model_foundry.architectures.saving.native_format import Record
from model_foundry.config import ExperimentConfig

AutoModelForSeq2SeqLM.register(TransformerConfig, TransformerForSeq2SeqLM, exist_ok=True)


@register_architecture("transformer", kind="encoder_decoder")
class TransformerEncoderDecoder(NativeModel, HFEncoderDecoder):
    """An encoder that reads a source both ways, and a decoder that writes a target."""

    model_type = "transformer"

    @classmethod
    def hf_class(cls, hf_config: Any) -> Any:
        """Return `TransformerForSeq2SeqLM`."""
        return TransformerForSeq2SeqLM

    @classmethod
    def from_config(cls, config: ExperimentConfig, **arguments: Any) -> Self:
        """Create a model with random weights.

        Args:
            config: the experiment; see `hf_fields`.
            **arguments: `vocab_size`, ids of special tokens by role, and `source_vocab_size` where
                the sources have a vocabulary of their own.

        Raises:
            ConfigError: a text is longer than the learned positions.
        """
        start = start_of(arguments)
        ids = {"decoder_start_token_id": start, "pad_token_id": arguments.get("eos_token_id")}
        given = {name: value for name, value in arguments.items() if value is not None}
        return super().from_config(config, **ids | given)

    @classmethod
    def hf_fields(cls, config: ExperimentConfig) -> Record:
        """Return the fields of `TransformerConfig` from `model.backbone`."""
        section = config.model.section
        stacks = {
            "layout": "encoder_decoder",
            "num_hidden_layers": section.decoder_layers,
            "encoder_layers": section.encoder_layers,
            "decoder_layers": section.decoder_layers,
        }
        return super().hf_fields(config) | stacks
