"""Stacks: cached = whole, padding and documents, the final norm, gradient checkpointing."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_foundry.architectures.modeling.configuration_transformer import TransformerConfig
from model_foundry.architectures.modeling.key_value_cache import new_cache
from model_foundry.architectures.modeling.positions import POSITIONS
from model_foundry.architectures.modeling.transformer_stack import TransformerStack

B, T, M, H = 2, 7, 4, 8
every_kind = pytest.mark.parametrize("positions", POSITIONS)


def stack(*, causal: bool = True, cross_attention: bool = False, **fields: Any) -> TransformerStack:
    """Return a stack of two blocks in evaluation mode."""
    torch.manual_seed(0)
    config = TransformerConfig(hidden_size=H, num_attention_heads=2, **fields)
    made = TransformerStack(config, 2, causal=causal, cross_attention=cross_attention)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made.eval()


def require_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@every_kind
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("padding", [0, 2])
def test_step_by_step_equals_the_whole_text(positions: str, cross: bool, padding: int) -> None:
    decoder = stack(positions=positions, cross_attention=cross)
    x, cache = torch.randn(B, T, H), new_cache(cross_attention=cross)
    mask = torch.ones(B, T, dtype=torch.long)
    mask[0, :padding] = 0
    given: dict[str, Any] = {}
    if cross:
        given = {"memory": torch.randn(B, M, H), "memory_mask": torch.ones(B, M)}
        given["memory_mask"][1, 2:] = 0
    whole = decoder(x, mask if padding else None, **given)[-1]
    seen, steps = 0, []
    for length in (3, 1, 2, 1):
        new = slice(seen, seen + length)
        seen += length
        real = mask[:, :seen] if padding else None
        steps.append(decoder(x[:, new], real, cache=cache, **given)[-1])
    real_tokens = mask.bool()
    require_close(torch.cat(steps, dim=1)[real_tokens], whole[real_tokens])
    assert cache.get_seq_length() == T


def test_the_memory_is_projected_once() -> None:
    decoder, cache = stack(cross_attention=True), new_cache(cross_attention=True)
    calls: list[Any] = []
    for block in decoder.blocks:
        block.cross_attention.sublayer.key_value.register_forward_hook(lambda *_: calls.append(0))
    for _ in range(3):
        decoder(torch.randn(B, 1, H), memory=torch.randn(B, M, H), cache=cache)
    assert len(calls) == len(decoder.blocks)


@every_kind
@pytest.mark.parametrize("causal", [True, False])
def test_padding_on_either_side_changes_nothing(positions: str, causal: bool) -> None:
    made, x = stack(positions=positions, causal=causal), torch.randn(1, 4, H)
    alone = made(x)[-1]
    filler = torch.randn(1, 3, H)
    real, padding = torch.ones(1, 4), torch.zeros(1, 3)
    left = made(torch.cat([filler, x], 1), torch.cat([padding, real], 1))[-1]
    right = made(torch.cat([x, filler], 1), torch.cat([real, padding], 1))[-1]
    require_close(left[:, 3:], alone)
    require_close(right[:, :4], alone)


@every_kind
def test_documents_of_a_row_are_read_apart(positions: str) -> None:
    made, x = stack(positions=positions), torch.randn(1, T, H)
    together = made(x, document_ids=torch.tensor([[0, 0, 0, 1, 1, 1, 1]]))[-1]
    require_close(together, torch.cat([made(x[:, :3])[-1], made(x[:, 3:])[-1]], dim=1))


@every_kind
def test_order_matters_and_a_causal_stack_does_not_look_ahead(positions: str) -> None:
    x = torch.randn(1, T, H)
    swapped = x.index_select(1, torch.tensor([1, 0, *range(2, T)]))
    encoder = stack(positions=positions, causal=False)
    assert not torch.allclose(encoder(x)[-1][:, -1], encoder(swapped)[-1][:, -1], atol=1e-3)
    changed = torch.cat([x[:, :-1], torch.randn(1, 1, H)], dim=1)
    decoder = stack(positions=positions)
    require_close(decoder(x)[-1][:, :-1], decoder(changed)[-1][:, :-1])
    assert not torch.allclose(encoder(x)[-1][:, 0], encoder(changed)[-1][:, 0], atol=1e-3)


def test_a_stack_without_positions_of_its_own_is_the_encoder_of_torch() -> None:
    """Compare a pre-norm stack, final norm included, with `nn.TransformerEncoder`."""
    made = stack(causal=False, dropout=0.0, attention_dropout=0.0)
    made.positions.embedding.weight.data.zero_()
    layer = nn.TransformerEncoderLayer(H, 2, 4 * H, 0.0, "gelu", batch_first=True, norm_first=True)
    oracle = nn.TransformerEncoder(layer, 2, nn.LayerNorm(H), enable_nested_tensor=False)
    ours = [p for name, p in made.named_parameters() if not name.startswith("positions")]
    # within a block: ours are norm, sublayer, norm, sublayer; torch's sublayers, norms
    theirs = [p for block in oracle.layers for p in _in_our_order(block)]
    theirs += list(oracle.norm.parameters())
    for mine, other in zip(ours, theirs, strict=True):
        other.data.copy_(mine.data)
    x, mask = torch.randn(B, T, H), torch.ones(B, T)
    mask[1, 5:] = 0
    expected = oracle(x, src_key_padding_mask=mask == 0)
    require_close(made(x, mask)[-1][mask.bool()], expected[mask.bool()])


def _in_our_order(layer: Any) -> list[nn.Parameter]:
    attention, output = layer.self_attn, layer.self_attn.out_proj
    return [
        *layer.norm1.parameters(),
        *(output.weight, output.bias, attention.in_proj_weight, attention.in_proj_bias),
        *layer.norm2.parameters(),
        *layer.linear1.parameters(),
        *layer.linear2.parameters(),
    ]


@every_kind
def test_gradient_checkpointing_changes_no_gradient(positions: str) -> None:
    plain = stack(positions=positions, dropout=0.0, attention_dropout=0.0).train()
    spared = copy.deepcopy(plain)
    spared.gradient_checkpointing = True
    x = torch.randn(B, T, H)
    for made in (plain, spared):
        made(x)[-1].square().sum().backward()
    for mine, other in zip(plain.parameters(), spared.parameters(), strict=True):
        require_close(mine.grad, other.grad)


def test_post_norm_stacks_have_no_final_norm_and_encoders_one_on_embeddings() -> None:
    post = stack(norm_place="post", layout="encoder", causal=False)
    assert isinstance(post.final_norm, nn.Identity)
    assert isinstance(post.embedding_norm, nn.LayerNorm)
    states = post(torch.randn(B, T, H))
    assert len(states) == 3
    pre = stack()
    assert isinstance(pre.final_norm, nn.LayerNorm)
    assert isinstance(pre.embedding_norm, nn.Identity)
