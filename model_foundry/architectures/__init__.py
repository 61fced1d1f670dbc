"""Architectures: the interface of a model, its registration, and the built-in models.

`BERTModel`, `DenseModel`, `GPT2Model`, `GRUModel`, `LSTMModel`, `MinGRUModel`, `MinLSTMModel` and
`RNNModel` are imported on first use.
"""

from typing import TYPE_CHECKING, Any

from model_foundry.architectures.base import BaseLanguageModel
from model_foundry.architectures.base_model import BaseModel, CountedModel, device_of
from model_foundry.architectures.factory import create_model_from_config
from model_foundry.architectures.model_registry import MODEL_REGISTRY
from model_foundry.architectures.output import ModelOutput
from model_foundry.architectures.registration import register_architecture, register_head
from model_foundry.foundation.plugins import load_plugin

if TYPE_CHECKING:
    from model_foundry.architectures.bert import BERTModel
    from model_foundry.architectures.dense import DenseModel
    from model_foundry.architectures.gpt import GPT2Model
    from model_foundry.architectures.rnn import (
        GRUModel,
        LSTMModel,
        MinGRUModel,
        MinLSTMModel,
        RNNModel,
    )

__all__ = [
    "MODEL_REGISTRY",
    "BERTModel",
    "BaseLanguageModel",
    "BaseModel",
    "CountedModel",
    "DenseModel",
    "GPT2Model",
    "GRUModel",
    "LSTMModel",
    "MinGRUModel",
    "MinLSTMModel",
    "ModelOutput",
    "RNNModel",
    "create_model_from_config",
    "device_of",
    "load_plugin",
    "register_architecture",
    "register_head",
]

_BUILT_IN = {
    "DenseModel": "dense",
    "GPT2Model": "gpt2",
    "BERTModel": "bert",
    "LSTMModel": "lstm",
    "GRUModel": "gru",
    "MinGRUModel": "min_gru",
    "MinLSTMModel": "min_lstm",
    "RNNModel": "rnn",
}


def __getattr__(name: str) -> Any:
    if name in _BUILT_IN:
        return MODEL_REGISTRY[_BUILT_IN[name]]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
