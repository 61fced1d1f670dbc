"""Feed-forward sublayers against transformers, and norms against torch."""

import pytest
import torch
from torch import nn
from transformers import LlamaConfig
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from model_foundry.architectures.modeling.feed_forward import ACTIVATIONS, FeedForward
from model_foundry.architectures.modeling.normalization import create_norm

close = torch.testing.assert_close


@pytest.mark.parametrize(("gate", "activation"), [("swiglu", "silu"), ("geglu", "gelu")])
def test_a_gated_sublayer_is_that_of_llama(gate: str, activation: str) -> None:
    config = LlamaConfig(
        hidden_size=6, num_attention_heads=2, intermediate_size=10, hidden_act=activation
    )
    oracle, ours = LlamaMLP(config), FeedForward(6, 10, gate, bias=False)
    up = torch.cat([oracle.gate_proj.weight.data, oracle.up_proj.weight.data])
    ours.load_state_dict({"up.weight": up, "down.weight": oracle.down_proj.weight.data})
    x = torch.randn(2, 3, 6)
    close(ours(x), oracle(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_is_that_of_transformers(activation: str) -> None:
    ours = FeedForward(6, 10, activation)
    x = torch.randn(2, 3, 6)
    close(ours(x), ours.down(ACT2FN[activation](ours.up(x))))


def test_an_rms_norm_is_that_of_llama_and_has_no_bias() -> None:
    x = torch.randn(2, 3, 6)
    close(create_norm("rms_norm", 6, eps=1e-6)(x), LlamaRMSNorm(6, eps=1e-6)(x))
    assert len(list(create_norm("rms_norm", 6).parameters())) == 1


def test_a_layer_norm_is_that_of_torch_with_or_without_bias() -> None:
    x = torch.randn(2, 3, 6)
    close(create_norm("layer_norm", 6, eps=1e-3)(x), nn.LayerNorm(6, eps=1e-3)(x))
    assert create_norm("layer_norm", 6, bias=False).bias is None
