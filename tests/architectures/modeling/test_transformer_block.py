"""Blocks against `nn.TransformerEncoderLayer` and `nn.TransformerDecoderLayer`."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_foundry.architectures.modeling.configuration_transformer import TransformerConfig
from model_foundry.architectures.modeling.masks import causal_mask, combined_mask
from model_foundry.architectures.modeling.transformer_block import TransformerBlock

B, T, S, H, N = 3, 6, 5, 8, 2
REAL = torch.tensor([[1] * T, [1] * 4 + [0] * 2, [1] * 3 + [0] * 3])
# state-dict names of torch's layers by ours; "in_proj_" has no dot before weight and bias
SELF = {"self_attention.sublayer.query_key_value.": "self_attn.in_proj_"}
SELF |= {"self_attention.sublayer.output.": "self_attn.out_proj."}
CROSS = {"cross_attention.sublayer.output.": "multihead_attn.out_proj."}
FEED_FORWARD = {"feed_forward.sublayer.up.": "linear1.", "feed_forward.sublayer.down.": "linear2."}


def names_of(block: TransformerBlock) -> dict[str, str]:
    """Return torch's name for the start of each of ours, but for the inputs of cross-attention."""
    parts = ["self_attention", *(["cross_attention"] if block.cross_attention else [])]
    norms = {f"{part}.norm.": f"norm{i}." for i, part in enumerate([*parts, "feed_forward"], 1)}
    return norms | SELF | (CROSS if block.cross_attention else {}) | FEED_FORWARD


def copied(block: TransformerBlock, oracle: nn.Module) -> TransformerBlock:
    """Return the block with torch's weights."""
    theirs = oracle.state_dict()
    state = {
        mine + kind: theirs[their + kind]
        for mine, their in names_of(block).items()
        for kind in ("weight", "bias")
    }
    if block.cross_attention:
        for kind in ("weight", "bias"):
            query, key_value = theirs[f"multihead_attn.in_proj_{kind}"].split([H, 2 * H])
            state[f"cross_attention.sublayer.query.{kind}"] = query
            state[f"cross_attention.sublayer.key_value.{kind}"] = key_value
    block.load_state_dict(state)
    return block


def layers(oracle_class: Any, place: str, activation: str, fused: bool) -> tuple[Any, Any]:
    """Return one of our blocks and torch's layer, with equal random weights."""
    torch.manual_seed(0)
    oracle = oracle_class(H, N, 12, 0.0, activation, batch_first=True, norm_first=place == "pre")
    for parameter in oracle.parameters():
        nn.init.normal_(parameter, std=0.5)
    config = TransformerConfig(
        hidden_size=H,
        num_attention_heads=N,
        intermediate_size=12,
        activation=activation,
        norm_place=place,
        dropout=0.0,
        attention_dropout=0.0,
    )
    cross = oracle_class is nn.TransformerDecoderLayer
    return copied(TransformerBlock(config, cross_attention=cross, fused=fused), oracle), oracle


def gradients(y: Tensor, *inputs: Tensor) -> list[Tensor]:
    """Return the gradients of a fixed weighting of the real positions of y."""
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)) * REAL[..., None]
    return list(torch.autograd.grad((y * weights).sum(), inputs))


def require_equal(mine: Tensor, theirs: Tensor, inputs: list[tuple[Tensor, Tensor]]) -> None:
    """Require equal real positions, and equal gradients of pairs of inputs."""
    real = REAL.bool()
    torch.testing.assert_close(mine[real], theirs[real], atol=1e-5, rtol=1e-5)
    mine_in, theirs_in = zip(*inputs, strict=True)
    pairs = zip(gradients(mine, *mine_in), gradients(theirs, *theirs_in), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("place", ["pre", "post"])
def test_a_block_is_the_encoder_layer_of_torch(
    place: str, activation: str, causal: bool, fused: bool
) -> None:
    block, oracle = layers(nn.TransformerEncoderLayer, place, activation, fused)
    x = torch.randn(B, T, H, requires_grad=True)
    hidden = ~causal_mask(T, T) if causal else None
    theirs = oracle(x, src_mask=hidden, src_key_padding_mask=REAL == 0)
    mine = block(x, combined_mask(T, T, REAL, causal=causal))
    up = (block.feed_forward.sublayer.up.weight, oracle.linear1.weight)
    norm = (block.self_attention.norm.bias, oracle.norm1.bias)
    require_equal(mine, theirs, [(x, x), up, norm])


@pytest.mark.parametrize("place", ["pre", "post"])
def test_a_block_with_cross_attention_is_the_decoder_layer_of_torch(place: str) -> None:
    block, oracle = layers(nn.TransformerDecoderLayer, place, "relu", True)
    x = torch.randn(B, T, H, requires_grad=True)
    memory = torch.randn(B, S, H, requires_grad=True)
    source = REAL[:, :S]
    theirs = oracle(
        x,
        memory,
        tgt_mask=~causal_mask(T, T),
        tgt_key_padding_mask=REAL == 0,
        memory_key_padding_mask=source == 0,
    )
    mask, memory_mask = combined_mask(T, T, REAL, causal=True), combined_mask(T, S, source)
    mine = block(x, mask, memory, memory_mask)
    output = block.cross_attention.sublayer.output.weight
    outputs = (output, oracle.multihead_attn.out_proj.weight)
    require_equal(mine, theirs, [(x, x), (memory, memory), outputs])
