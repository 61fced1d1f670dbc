"""The transformers of this package's own blocks, as an experiment sees them."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from model_foundry.architectures import create_model_from_config
from model_foundry.config.backbone import BackboneConfig
from model_foundry.errors import ConfigError
from tests.architectures.conftest import make_config

V = 61
KINDS = ("learned", "sinusoidal", "rotary", "alibi", "relative")


def make(name: str, *, training: dict[str, Any] | None = None, **section: Any) -> Any:
    config = make_config(name, training=training, **section)
    return create_model_from_config(config, vocab_size=V, pad_token_id=0)


def test_every_setting_of_the_section_reaches_the_network() -> None:
    section = {
        "layers": 3,
        "hidden_size": 24,
        "attention_heads": 3,
        "dropout": 0.2,
        "attention_dropout": 0.3,
        "bias": False,
        "tie_word_embeddings": False,
        "max_position_embeddings": 40,
        "feed_forward": {"hidden_size": 30, "activation": "geglu"},
        "positions": "alibi",
        "norm": {"kind": "rms_norm", "place": "post"},
    }
    model = make("transformer_decoder", **section)
    stack, block = model.hf_model.transformer.stack, model.hf_model.transformer.stack.blocks[0]
    attention, feed_forward = block.self_attention, block.feed_forward
    assert len(stack.blocks) == 3
    assert attention.sublayer.query_key_value.weight.shape == (72, 24)
    assert attention.sublayer.query_key_value.bias is None
    assert (attention.sublayer.num_heads, attention.sublayer.dropout) == (3, 0.3)
    assert attention.dropout.p == stack.dropout.p == 0.2
    assert feed_forward.sublayer.up.weight.shape == (60, 24)
    assert feed_forward.sublayer.gated
    assert isinstance(attention.norm, torch.nn.RMSNorm)
    assert not attention.norm_first
    assert model.hf_model.lm_head.weight is not model.get_input_embeddings().weight
    assert model.hf_config.max_position_embeddings == 40
    assert model.num_positions is None  # alibi has no limit


@pytest.mark.parametrize(("place", "std"), [("pre", 0.02 / 16**0.5), ("post", 0.02)])
def test_initial_weights_before_a_sum_follow_the_depth(place: str, std: float) -> None:
    model = make("transformer_decoder", layers=8, hidden_size=64, norm={"place": place})
    block = model.hf_model.transformer.stack.blocks[0]
    for layer in (block.self_attention.sublayer.output, block.feed_forward.sublayer.down):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
    assert block.feed_forward.sublayer.up.weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_both_kernels_are_used_as_asked(kernel: str) -> None:
    training = {"attn_implementation": kernel}
    model = make("transformer_decoder", training=training)
    attention = model.hf_model.transformer.stack.blocks[0].self_attention.sublayer
    assert model.attention_in_use == kernel
    assert attention.fused == (kernel == "sdpa")


def test_flash_attention_is_refused_by_name() -> None:
    training = {"attn_implementation": "flash_attention_2", "mixed_precision": "bf16"}
    with pytest.raises(ConfigError, match="does not fit transformer_decoder"):
        make("transformer_decoder", training=training)


def test_a_block_must_fit_learned_positions_only() -> None:
    with pytest.raises(ValueError, match=r"max_sequence_length: \(=12\) exceeds .*\(=8\)"):
        make("transformer_decoder", max_position_embeddings=8)
    model = make("transformer_decoder")
    with pytest.raises(ValueError, match=r"block \(=13 tokens\) exceeds the 12 positions"):
        model(torch.ones(1, 13, dtype=torch.long))
    rotary = make("transformer_decoder", max_position_embeddings=8, positions="rotary")
    assert rotary(torch.ones(1, 30, dtype=torch.long)).logits.shape == (1, 30, V)


@pytest.mark.parametrize(
    ("section", "law"),
    [
        ({"hidden_size": 16, "attention_heads": 3}, r"multiple of attention_heads \(=3\), got 16"),
        (
            {"hidden_size": 6, "attention_heads": 2, "positions": "rotary"},
            "heads of even width, and hidden_size / attention_heads is 3",
        ),
    ],
)
def test_widths_that_do_not_fit_are_refused(section: dict[str, Any], law: str) -> None:
    with pytest.raises(ValidationError, match=law):
        BackboneConfig(layers=1, **section)


@pytest.mark.parametrize("place", ["pre", "post"])
@pytest.mark.parametrize(
    ("name", "positions"),
    [*(("transformer_decoder", kind) for kind in KINDS), ("transformer_encoder", "learned")],
)
def test_each_kind_learns_a_text_by_heart(name: str, positions: str, place: str) -> None:
    torch.manual_seed(0)
    model = make(name, positions=positions, norm={"place": place})
    ids = torch.randint(3, V, (2, 12))
    seen, labels = ids.clone(), ids
    if name == "transformer_encoder":
        seen[:, ::3] = 1  # the mask
        labels = ids.masked_fill(seen == ids, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model(seen, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5
