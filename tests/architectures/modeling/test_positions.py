"""Positions against Llama and T5 of transformers, and against their formulas."""

import math

import pytest
import torch
from transformers import LlamaConfig, T5Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.t5.modeling_t5 import T5Attention

from model_foundry.architectures.modeling.positions import (
    POSITIONS,
    AlibiPositions,
    LearnedPositions,
    RelativePositions,
    RotaryPositions,
    SinusoidalPositions,
    create_positions,
    distances,
    number_tokens,
    number_within_documents,
    relative_bucket,
    rotate,
)

close = torch.testing.assert_close


def test_rotary_positions_are_those_of_llama() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)
    positions = torch.stack([torch.arange(7), torch.arange(4, 11)])
    oracle = LlamaRotaryEmbedding(LlamaConfig(hidden_size=24, num_attention_heads=3))
    expected = apply_rotary_pos_emb(q, k, *oracle(q, positions))
    rotation = RotaryPositions(8).rotation(positions)
    for mine, theirs in zip((rotate(q, rotation), rotate(k, rotation)), expected, strict=True):
        close(mine, theirs)


def test_an_odd_head_cannot_rotate() -> None:
    with pytest.raises(ValueError, match="a head is 5 wide"):
        RotaryPositions(5)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_relative_positions_are_those_of_t5(bidirectional: bool) -> None:
    config = T5Config(d_model=12, num_heads=3, d_kv=4, is_decoder=not bidirectional)
    oracle = T5Attention(config, has_relative_attention_bias=True)
    distance = distances(300, 300, None)
    buckets = relative_bucket(distance, bidirectional=bidirectional)
    expected = T5Attention._relative_position_bucket(distance, bidirectional=bidirectional)
    assert torch.equal(buckets, expected)
    ours = RelativePositions(3, bidirectional=bidirectional)
    ours.embedding.weight.data.copy_(oracle.relative_attention_bias.weight.data)
    close(ours.bias(9, 9, None), oracle.compute_bias(9, 9))
    close(ours.bias(2, 9, None), oracle.compute_bias(9, 9)[:, :, -2:])


def test_alibi_falls_by_the_slopes_of_the_paper() -> None:
    assert AlibiPositions(8).slopes() == [2**-i for i in range(1, 9)]
    assert AlibiPositions(3).slopes() == [2**-4, 2**-8, 2**-2]  # of two heads, then of four
    bias = AlibiPositions(2).bias(2, 3, None)
    assert bias.tolist() == [
        [[[-m * abs(t - s) for s in range(3)] for t in (1, 2)] for m in (2**-4, 2**-8)]
    ]


def test_sinusoidal_positions_follow_their_formula() -> None:
    x = torch.randn(1, 5, 6)
    y = SinusoidalPositions().embed(x, torch.arange(5)[None])
    for t in range(5):
        for i in range(6):
            angle = t / 10_000 ** (2 * (i // 2) / 6)
            wave = math.cos(angle) if i % 2 else math.sin(angle)
            assert y[0, t, i].item() == pytest.approx(x[0, t, i].item() * 6**0.5 + wave, abs=1e-5)


def test_learned_positions_are_looked_up() -> None:
    positions = LearnedPositions(4, 3)
    x, ids = torch.randn(2, 2, 3), torch.tensor([[0, 1], [3, 3]])
    close(positions.embed(x, ids), x + positions.embedding.weight[ids])


@pytest.mark.parametrize("kind", POSITIONS)
def test_each_kind_acts_in_one_place(kind: str) -> None:
    positions = create_positions(kind, hidden_size=8, num_heads=2, num_positions=9, causal=True)
    x, ids = torch.randn(1, 3, 8), torch.arange(3)[None]
    places = {
        "embedding": not torch.equal(positions.embed(x, ids), x),
        "rotation": positions.rotation(ids) is not None,
        "bias": positions.bias(3, 3, None) is not None,
    }
    assert sum(places.values()) == 1


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="learned, sinusoidal, rotary, alibi, relative, got 'x'"):
        create_positions("x", hidden_size=8, num_heads=2, num_positions=9, causal=True)


def test_padding_has_no_position() -> None:
    shape = torch.Size((2, 3))
    assert number_tokens(shape, 4, None, None).tolist() == [[4, 5, 6]]
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]])
    assert number_tokens(shape, 2, mask, None).tolist() == [[0, 1, 2], [2, 2, 2]]


def test_each_document_is_numbered_from_0_without_padding() -> None:
    ids = torch.tensor([[7, 7, 8, 8, 8, 9], [-1, -1, 0, 0, 1, 2]])
    assert number_within_documents(ids).tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 0, 1, 0, 0]]
    real = torch.tensor([[0, 1, 1, 0, 1, 1]])
    numbers = number_within_documents(ids[:1], real)
    assert numbers[real == 1].tolist() == [0, 0, 1, 0]
