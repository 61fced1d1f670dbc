"""Attention against `nn.MultiheadAttention`, and additive attention against a loop."""

import pytest
import torch
from torch import Tensor, nn

from model_foundry.architectures.modeling.attention import (
    AdditiveAttention,
    CrossAttention,
    SelfAttention,
    dot_product_attention,
    plain_attention,
)
from model_foundry.architectures.modeling.masks import causal_mask, combined_mask

B, T, S, H, N = 3, 6, 5, 8, 2
PADDED = torch.tensor([[1] * T, [1] * 4 + [0] * 2, [0] * 1 + [1] * (T - 1)])
close = torch.testing.assert_close


def torch_attention(bias: bool) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    oracle = nn.MultiheadAttention(H, N, bias=bias, batch_first=True)
    for parameter in oracle.parameters():
        nn.init.normal_(parameter, std=0.5)
    return oracle


def copy_projections(oracle: nn.MultiheadAttention, *parts: nn.Linear) -> None:
    """Copy the rows of torch's one input projection to `parts`, and the output projection."""
    *inputs, output = parts
    sizes = [len(part.weight) for part in inputs]
    for kind in ("weight", "bias"):
        source = getattr(oracle, f"in_proj_{kind}")
        if source is None:
            continue
        for part, rows in zip(inputs, source.data.split(sizes), strict=True):
            getattr(part, kind).data.copy_(rows)
        getattr(output, kind).data.copy_(getattr(oracle.out_proj, kind).data)


def gradients(y: Tensor, *inputs: Tensor) -> list[Tensor]:
    """Return the gradients of a fixed weighting of y."""
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return list(torch.autograd.grad((y * weights).sum(), inputs))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_self_attention_is_that_of_torch(fused: bool, bias: bool, causal: bool) -> None:
    oracle = torch_attention(bias)
    ours = SelfAttention(H, N, bias=bias, fused=fused)
    copy_projections(oracle, ours.query_key_value, ours.output)
    x = torch.randn(B, T, H, requires_grad=True)
    hidden = ~causal_mask(T, T) if causal else None
    expected, _ = oracle(x, x, x, attn_mask=hidden, need_weights=False)
    y = ours(x, is_causal=causal)
    close(y, expected, atol=1e-5, rtol=1e-5)
    weights = (ours.query_key_value.weight, oracle.in_proj_weight)
    for mine, theirs in zip(
        gradients(y, x, weights[0]), gradients(expected, x, weights[1]), strict=True
    ):
        close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_self_attention_with_padding_is_that_of_torch(fused: bool) -> None:
    oracle = torch_attention(bias=True)
    ours = SelfAttention(H, N, fused=fused)
    copy_projections(oracle, ours.query_key_value, ours.output)
    x = torch.randn(B, T, H)
    expected, _ = oracle(x, x, x, key_padding_mask=PADDED == 0, need_weights=False)
    close(ours(x, combined_mask(T, T, PADDED)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_cross_attention_is_that_of_torch(fused: bool) -> None:
    oracle = torch_attention(bias=True)
    ours = CrossAttention(H, N, fused=fused)
    copy_projections(oracle, ours.query, ours.key_value, ours.output)
    x = torch.randn(B, T, H, requires_grad=True)
    memory = torch.randn(B, S, H, requires_grad=True)
    real = PADDED[:, :S]
    expected, _ = oracle(x, memory, memory, key_padding_mask=real == 0, need_weights=False)
    y = ours(x, memory, combined_mask(T, S, real))
    close(y, expected, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(gradients(y, x, memory), gradients(expected, x, memory), strict=True):
        close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mask", ["none", "causal", "boolean", "added"])
def test_the_fused_kernel_computes_the_plain_form(mask: str) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(B, N, T, H // N, requires_grad=True) for _ in range(3))
    seen = {
        "boolean": combined_mask(T, T, PADDED, causal=True),
        "added": torch.randn(1, N, T, T),
    }.get(mask)
    fused, plain = (
        dot_product_attention(q, k, v, seen, is_causal=mask == "causal", fused=fused)
        for fused in (True, False)
    )
    close(fused, plain)
    for one, other in zip(gradients(fused, q, k, v), gradients(plain, q, k, v), strict=True):
        close(one, other, atol=1e-5, rtol=1e-5)


def test_the_plain_form_returns_the_weights() -> None:
    q, k, v = (torch.randn(B, N, T, 4) for _ in range(3))
    y, weights = plain_attention(q, k, v, causal_mask(T, T))
    close(weights.sum(-1), torch.ones(B, N, T))
    close(weights.tril(), weights)
    close(weights @ v, y)


def test_dropout_acts_in_training_only() -> None:
    x = torch.randn(B, T, H)
    for fused in (True, False):
        attention = SelfAttention(H, N, dropout=0.5, fused=fused)
        assert not torch.equal(attention(x), attention(x))
        attention.eval()
        assert torch.equal(attention(x), attention(x))


def test_additive_attention_by_hand() -> None:
    """Compute score, softmax and mean for each pair of query and key, as in the paper."""
    torch.manual_seed(0)
    attention = AdditiveAttention(query_size=3, key_size=4, hidden_size=5)
    queries, keys = torch.randn(2, 3, 3), torch.randn(2, 4, 4)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()[:, None]
    y, weights = attention(queries, keys, mask)
    A, b, K, w = (p.detach() for p in attention.parameters())
    for row in range(2):
        real = int(mask[row].sum())
        for t in range(3):
            scores = [w[0] @ (A @ queries[row, t] + b + K @ keys[row, s]).tanh() for s in range(4)]
            shares = torch.stack(scores[:real]).exp()
            shares = shares / shares.sum()
            close(weights[row, t, :real], shares)
            close(y[row, t], sum(p * keys[row, s] for s, p in enumerate(shares)))
    assert not weights[1, :, 2:].any()


def test_a_width_that_no_heads_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden_size` \(=8\) must be a multiple.*\(=3\)"):
        SelfAttention(8, 3)
