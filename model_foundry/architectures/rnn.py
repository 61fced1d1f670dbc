"""The recurrent architectures: LSTM, GRU, their minimal forms, and the simple (Elman) network.

The network is in `modeling/modeling_recurrent.py`, which is saved with each model.
"""

from collections.abc import Mapping
from typing import Any, Self, cast

from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from model_foundry.architectures.hf_language_model import HFLanguageModel
from model_foundry.architectures.modeling.configuration_recurrent import RecurrentConfig
from model_foundry.architectures.modeling.functions_recurrent import WholeSequences
from model_foundry.architectures.modeling.layers_recurrent import RecurrentCache
from model_foundry.architectures.modeling.modeling_recurrent import (
    RecurrentForCausalLM,
    RecurrentForMaskedLM,
    RecurrentForSequenceClassification,
    RecurrentForTokenClassification,
    RecurrentModel,
)
from model_foundry.architectures.registration import register_architecture
from model_foundry.architectures.saving.native_format import Record
from model_foundry.config import ExperimentConfig, RNNModelConfig

AutoConfig.register(RecurrentConfig.model_type, RecurrentConfig, exist_ok=True)
for auto_class, model_class in (
    (AutoModel, RecurrentModel),
    (AutoModelForCausalLM, RecurrentForCausalLM),
    (AutoModelForMaskedLM, RecurrentForMaskedLM),
    (AutoModelForSequenceClassification, RecurrentForSequenceClassification),
    (AutoModelForTokenClassification, RecurrentForTokenClassification),
):
    auto_class.register(RecurrentConfig, model_class, exist_ok=True)


class RecurrentLanguageModel(HFLanguageModel):
    """A recurrent model: causal when it reads one way, masked when it reads both."""

    hf_config_class = RecurrentConfig

    @classmethod
    def from_config(cls, config: ExperimentConfig, **ids: Any) -> Self:
        """Make a model with random weights; see `BaseLanguageModel`."""
        model = super().from_config(config, **ids)
        for module in model.modules():
            if isinstance(module, WholeSequences):
                module.fused = config.training.speed.fused_recurrence
        return model

    @classmethod
    def hf_class(cls, hf_config: Any) -> Any:
        """Return the class for the reading direction."""
        return RecurrentForMaskedLM if hf_config.bidirectional else RecurrentForCausalLM

    @property
    def supports_generation(self) -> bool:
        """True if it reads from left to right only."""
        return not self.hf_config.bidirectional

    @property
    def carries_state(self) -> bool:
        """True if it reads from left to right only."""
        return self.supports_generation

    def state_tensors(self, past_key_values: Any) -> dict[str, Tensor]:
        """Return `<layer>.hidden` and, of an LSTM, `<layer>.cell`, (B, H) each, detached."""
        return {
            f"{index}.{kind}": tensor.detach()
            for index, layer in enumerate(past_key_values.layers)
            for kind, tensor in (("hidden", layer.hidden), ("cell", layer.cell))
            if tensor.shape[1]  # (B, 0) where there is no cell state
        }

    def state_from(self, tensors: Mapping[str, Tensor]) -> RecurrentCache:
        """Return the cache that `state_tensors` was given."""
        config = self.hf_config
        kinds = ("hidden", "cell") if config.rnn_type == "lstm" else ("hidden",)
        names = [f"{i}.{kind}" for i in range(config.num_hidden_layers) for kind in kinds]
        width = config.hidden_size_per_direction
        if set(tensors) != set(names) or any(t.shape[1:] != (width,) for t in tensors.values()):
            expected = f"{', '.join(names)}, each of {width} columns"
            raise ValueError(f"the state of this {self.model_type} is {expected}")
        cache = RecurrentCache(config.num_hidden_layers)
        for index, layer in enumerate(cache.layers):
            hidden = tensors[f"{index}.hidden"]
            layer.update(hidden, tensors.get(f"{index}.cell", hidden[:, :0]))
        return cache

    def call_arguments(
        self, input_ids: Tensor, attention_mask: Tensor | None, document_ids: Tensor | None
    ) -> dict[str, Any]:
        """Pass the document ids on; the network keeps documents apart."""
        usual = super().call_arguments(input_ids, attention_mask, None)
        return usual | {"document_ids": document_ids}

    def output_features(self, hidden: Tensor) -> Tensor:
        """Return the hidden states, as wide as the embeddings where these are tied."""
        return cast(Tensor, self.hf_model.projection(hidden))

    @classmethod
    def hf_fields(cls, config: ExperimentConfig) -> Record:
        """Return the fields of `RecurrentConfig` from `model.rnn`."""
        section: RNNModelConfig = config.model.section
        return {
            "rnn_type": cls.model_type,
            "embedding_size": section.embedding_size,
            "hidden_size_per_direction": section.hidden_size,
            "num_hidden_layers": section.num_layers,
            "bidirectional": section.bidirectional,
            "dropout": section.dropout,
            "tie_word_embeddings": section.tie_word_embeddings,
        }


@register_architecture("lstm")
class LSTMModel(RecurrentLanguageModel):
    """Long short-term memory (Hochreiter and Schmidhuber 1997)."""

    model_type = "lstm"


@register_architecture("gru")
class GRUModel(RecurrentLanguageModel):
    """Gated recurrent units (Cho et al. 2014, arXiv:1406.1078)."""

    model_type = "gru"


@register_architecture("min_gru")
class MinGRUModel(RecurrentLanguageModel):
    """The minGRU, read by a parallel scan (Feng et al. 2024, arXiv:2410.01201)."""

    model_type = "min_gru"


@register_architecture("min_lstm")
class MinLSTMModel(RecurrentLanguageModel):
    """The minLSTM, read by a parallel scan (Feng et al. 2024, arXiv:2410.01201)."""

    model_type = "min_lstm"


@register_architecture("rnn")
class RNNModel(RecurrentLanguageModel):
    """The simple recurrent network (Elman 1990)."""

    model_type = "rnn"
