"""GPT-2: a causal transformer (Radford et al. 2019)."""

from typing import Any

from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.architectures.registration import register_architecture
from model_foundry.architectures.saving.native_format import Record
from model_foundry.architectures.transformer import Transformer
from model_foundry.config import ExperimentConfig, TransformerModelConfig


@register_architecture("gpt2")
class GPT2Model(Transformer):
    """A causal transformer with learned positions and tied embeddings."""

    hf_config_class = GPT2Config
    model_type = "gpt2"
    supports_generation = True

    @classmethod
    def hf_class(cls, hf_config: Any) -> Any:
        """Return `GPT2LMHeadModel`."""
        return GPT2LMHeadModel

    def output_features(self, hidden: Tensor) -> Tensor:
        """Return the hidden states, the input of GPT-2's output matrix."""
        return hidden

    @classmethod
    def hf_fields(cls, config: ExperimentConfig) -> Record:
        """Return the fields of `GPT2Config` from `model.transformer`."""
        section: TransformerModelConfig = config.model.section
        return {
            "n_positions": section.max_position_embeddings or config.data.max_sequence_length,
            "n_embd": section.hidden_size,
            "n_layer": section.layers,
            "n_head": section.attention_heads,
            "n_inner": section.intermediate_hidden_size,
            "activation_function": section.activation_function,
            "resid_pdrop": section.dropout,
            "embd_pdrop": section.dropout,
            "attn_pdrop": section.attention_dropout,
        }
