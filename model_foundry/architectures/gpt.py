"""GPT-2: a causal transformer (Radford et al. 2019), from transformers."""

from typing import Any, Self

from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.architectures.registration import register_architecture
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
    def from_config(
        cls,
        config: ExperimentConfig,
        *,
        vocab_size: int | None = None,
        pad_token_id: int | None = None,
        bos_token_id: int | None = None,
        eos_token_id: int | None = None,
        **kwargs: Any,
    ) -> Self:
        """Create a model with random weights from `config.model.transformer`.

        `**kwargs` are further fields of `GPT2Config`.
        """
        section: TransformerModelConfig = config.model.section
        hf_config = GPT2Config(
            vocab_size=vocab_size or config.tokenizer.vocab_size,
            n_positions=section.max_position_embeddings or config.data.max_sequence_length,
            n_embd=section.hidden_size,
            n_layer=section.layers,
            n_head=section.attention_heads,
            n_inner=section.intermediate_hidden_size,
            activation_function=section.activation_function,
            resid_pdrop=section.dropout,
            embd_pdrop=section.dropout,
            attn_pdrop=section.attention_dropout,
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            **kwargs,
        )
        return cls.build(config, hf_config)
