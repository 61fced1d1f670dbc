"""BERT: a masked transformer (Devlin et al. 2019, arXiv:1810.04805)."""

from typing import Any, cast

from torch import Tensor
from transformers import BertConfig, BertForMaskedLM

from model_foundry.architectures.registration import register_architecture
from model_foundry.architectures.saving.native_format import Record
from model_foundry.architectures.transformer import Transformer
from model_foundry.config import BERTSpecificConfig, ExperimentConfig, TransformerModelConfig


@register_architecture("bert")
class BERTModel(Transformer):
    """A transformer that sees both sides, with learned positions and tied embeddings."""

    hf_config_class = BertConfig
    knows_segments = True
    model_type = "bert"
    supports_generation = False

    @classmethod
    def hf_class(cls, hf_config: Any) -> Any:
        """Return `BertForMaskedLM`."""
        return BertForMaskedLM

    def output_features(self, hidden: Tensor) -> Tensor:
        """Return the hidden states after the last layer before the output matrix."""
        if self.is_native:
            return cast(Tensor, self.hf_model.head(hidden))
        return cast(Tensor, self.hf_model.cls.predictions.transform(hidden))

    @classmethod
    def hf_fields(cls, config: ExperimentConfig) -> Record:
        """Return the fields of `BertConfig` from `model.transformer` and `model.bert`."""
        section: TransformerModelConfig = config.model.section
        own = config.model.bert or BERTSpecificConfig()
        return {
            "max_position_embeddings": (
                section.max_position_embeddings or config.data.max_sequence_length
            ),
            "hidden_size": section.hidden_size,
            "num_hidden_layers": section.layers,
            "num_attention_heads": section.attention_heads,
            "intermediate_size": section.intermediate_hidden_size,
            "hidden_act": section.activation_function,
            "hidden_dropout_prob": section.dropout,
            "attention_probs_dropout_prob": section.attention_dropout,
            "type_vocab_size": own.type_vocab_size,
            "pooler_type": own.pooler_type,
        }
