"""Masks: 1 for real tokens, 0 for padding; True where a query sees a key."""

import torch

from model_foundry.architectures.modeling.attention import SelfAttention
from model_foundry.architectures.modeling.masks import causal_mask, combined_mask, with_bias


def drawn(mask: torch.Tensor | None) -> list[str]:
    """Return the rows of a mask as strings, x where a key is seen."""
    assert mask is not None
    return ["".join(".x"[int(seen)] for seen in row) for row in mask.reshape(-1, mask.shape[-1])]


def test_a_causal_mask_ends_at_the_query() -> None:
    assert drawn(causal_mask(3, 3)) == ["x..", "xx.", "xxx"]
    assert drawn(causal_mask(2, 4)) == ["xxx.", "xxxx"]  # the last two of four positions


def test_padding_and_causality_are_combined() -> None:
    real = torch.tensor([[1, 1, 0]])
    assert drawn(combined_mask(3, 3, real)) == ["xx."]
    assert drawn(combined_mask(3, 3, real, causal=True)) == ["x..", "xx.", "xx."]


def test_documents_do_not_see_each_other() -> None:
    ids = torch.tensor([[0, 0, 1, -1]])
    assert drawn(combined_mask(4, 4, None, ids)) == ["xx..", "xx..", "..x.", "...x"]
    real = torch.tensor([[1, 1, 1, 0]])
    seen = drawn(combined_mask(4, 4, real, ids, causal=True))
    assert seen == ["x...", "xx..", "..x.", "xxxx"]  # padding sees anything rather than nothing


def test_nothing_is_hidden_without_a_reason() -> None:
    assert combined_mask(3, 3) is None
    assert combined_mask(1, 5, causal=True) is None  # one step of generation
    assert with_bias(None, None) is None


def test_a_query_that_would_see_nothing_sees_all() -> None:
    left = torch.tensor([[0, 1, 1]])
    assert drawn(combined_mask(3, 3, left, causal=True)) == ["xxx", ".x.", ".xx"]
    assert drawn(combined_mask(2, 2, torch.zeros(1, 2))) == ["xx"]


def test_rows_of_padding_alone_give_finite_outputs_and_gradients() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 8, requires_grad=True)
    real = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0]])
    bias = torch.randn(1, 2, 4, 4)
    for fused in (True, False):
        for added in (None, bias):
            mask = with_bias(combined_mask(4, 4, real, causal=True), added)
            y = SelfAttention(8, 2, fused=fused)(x, mask)
            (gradient,) = torch.autograd.grad(y.sum(), x)
            assert y.isfinite().all()
            assert gradient.isfinite().all()


def test_a_bias_stays_where_a_key_is_seen() -> None:
    bias = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    seen = causal_mask(2, 2)[None, None]
    assert with_bias(seen, bias).tolist() == [[[[1.0, -torch.inf], [3.0, 4.0]]]]
    assert with_bias(None, bias) is bias
    assert with_bias(seen, None) is seen
