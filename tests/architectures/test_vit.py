"""The vision transformer: transformers' own as oracle, its settings, its directory."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification

from model_foundry.architectures import BaseModel, create_model_from_config
from model_foundry.architectures.modeling.configuration_vit import VisionTransformerConfig
from model_foundry.architectures.modeling.modeling_vit import (
    VisionTransformerForImageClassification,
)
from model_foundry.architectures.modeling.positions import POSITIONS
from model_foundry.architectures.vit import VisionTransformer
from model_foundry.config import ExperimentConfig, validate
from model_foundry.errors import ConfigError
from model_foundry.foundation.messages import short_repr
from tests.architectures.test_classifier import by_its_own_code

SIZES: dict[str, Any] = {"num_channels": 3, "image_size": [4, 6], "labels": [*"abcde"]}
FIELDS: dict[str, Any] = {
    **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_channels": 3},
    **{"intermediate_size": 24, "image_size": [8, 12], "patch_size": 4, "num_labels": 5},
}
BLOCK = {
    "attention.o_proj": "self_attention.sublayer.output",
    "layernorm_before": "self_attention.norm",
    "layernorm_after": "feed_forward.norm",
    "mlp.fc1": "feed_forward.sublayer.up",
    "mlp.fc2": "feed_forward.sublayer.down",
}
OTHERS = {
    "classifier.weight": "classifier.weight",
    "classifier.bias": "classifier.bias",
    "vit.layernorm.weight": "vit.stack.final_norm.weight",
    "vit.layernorm.bias": "vit.stack.final_norm.bias",
    "vit.embeddings.cls_token": "vit.embed.class_token",
    "vit.embeddings.position_embeddings": "vit.stack.positions.embedding.weight",
    "vit.embeddings.patch_embeddings.projection.weight": "vit.embed.projection.weight",
    "vit.embeddings.patch_embeddings.projection.bias": "vit.embed.projection.bias",
}


def config(*, vit: Any = None, training: Any = None, **section: Any) -> ExperimentConfig:
    backbone = {"layers": 2, "hidden_size": 16, "attention_heads": 2, **section}
    raw = {
        "experiment_name": "vit",
        "data": {"train": {"images": "pictures"}},
        "model": {"architecture": "vit", "backbone": backbone, "vit": vit or {"patch_size": 2}},
        "training": {"objective": "image_classification", "max_steps": 1, **(training or {})},
    }
    return validate(raw, "vit")


def made(*, arguments: Any = None, **settings: Any) -> BaseModel:
    torch.manual_seed(0)
    return create_model_from_config(config(**settings), **SIZES | (arguments or {})).eval()


def images(*size: int) -> Tensor:
    return torch.randn(4, 3, *(size or (4, 6)), generator=torch.Generator().manual_seed(0))


def in_our_layout(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return transformers' weights, or their gradients, by the names of ours."""
    found = {ours: theirs[name] for name, ours in OTHERS.items()}
    for layer in range(FIELDS["num_hidden_layers"]):
        block = f"vit.stack.blocks.{layer}"
        for kind in ("weight", "bias"):
            for name, ours in BLOCK.items():
                found[f"{block}.{ours}.{kind}"] = theirs[f"vit.layers.{layer}.{name}.{kind}"]
            parts = [theirs[f"vit.layers.{layer}.attention.{n}_proj.{kind}"] for n in "qkv"]
            found[f"{block}.self_attention.sublayer.query_key_value.{kind}"] = torch.cat(parts)
    return found


def test_logits_and_gradients_are_those_of_transformers() -> None:
    torch.manual_seed(0)
    oracle = ViTForImageClassification(ViTConfig(**FIELDS)).eval()
    with torch.no_grad():
        for parameter in oracle.parameters():
            parameter.normal_(std=0.3)
    ours = VisionTransformerForImageClassification(
        VisionTransformerConfig(**FIELDS, norm_eps=oracle.config.layer_norm_eps)
    ).eval()
    shapes = {name: weight.shape for name, weight in ours.state_dict().items()}
    weights = in_our_layout(dict(oracle.named_parameters()))
    ours.load_state_dict({name: weight.reshape(shapes[name]) for name, weight in weights.items()})
    labels = torch.tensor([0, 4, 2, 2])
    expected, found = (m(pixel_values=images(8, 12), labels=labels) for m in (oracle, ours))
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.loss, expected.loss, atol=1e-5, rtol=1e-5)
    for output in (expected, found):
        output.loss.backward()
    gradients = in_our_layout(
        {n: p.grad for n, p in oracle.named_parameters() if p.grad is not None}
    )
    for name, parameter in ours.named_parameters():
        expected_gradient = gradients[name].reshape(shapes[name])
        torch.testing.assert_close(parameter.grad, expected_gradient, atol=1e-5, rtol=1e-5)


def test_the_mean_over_patches_needs_no_class_token() -> None:
    model = made(vit={"patch_size": 2, "pooling": "mean"})
    network = model.hf_model
    states = network.vit(images()).last_hidden_state
    assert states.shape == (4, 6, 16)
    expected = F.linear(states.mean(1), network.classifier.weight, network.classifier.bias)
    torch.testing.assert_close(model(pixel_values=images()).logits, expected)


@pytest.mark.parametrize("positions", POSITIONS)
def test_every_kind_of_positions_tells_where_a_patch_is(positions: str) -> None:
    model = made(positions=positions)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    exchanged = images().roll(2, dims=3)  # whole patches
    logits, others = (model(pixel_values=each).logits for each in (images(), exchanged))
    assert (logits - others).abs().max() > 0.01


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_positions_and_patches_begin_at_a_size(pooling: str) -> None:
    vit = {"patch_size": 1, "pooling": pooling}
    model = made(vit=vit, hidden_size=64, arguments={"image_size": [32, 32]})
    embed, stack = model.hf_model.vit.embed, model.hf_model.vit.stack
    assert stack.positions.embedding.weight.std().item() == pytest.approx(0.5, rel=0.02)
    assert embed.projection.weight.std().item() == pytest.approx(3**-0.5, rel=0.1)
    assert not embed.projection.bias.any()
    if pooling == "cls":
        assert embed.class_token.std().item() == pytest.approx(0.02, rel=0.3)


def test_one_label_each_or_any_number() -> None:
    model, classes = made(), torch.tensor([0, 4, -100, 2])
    output = model(pixel_values=images(), labels=classes)
    torch.testing.assert_close(output.loss, F.cross_entropy(output.logits, classes))
    model = made(arguments={"multi_label": True})
    several = torch.eye(5)[[0, 4, 1, 2]] + torch.eye(5)[[1, 3, 3, 3]]
    output = model(pixel_values=images(), labels=several)
    expected = F.binary_cross_entropy_with_logits(output.logits, several)
    torch.testing.assert_close(output.loss, expected)
    alone = model.hf_model(pixel_values=images(), labels=several).loss
    torch.testing.assert_close(alone, expected)


def test_a_directory_is_loaded_here_and_by_transformers(tmp_path: Path) -> None:
    model = made(positions="rotary", norm={"kind": "rms_norm", "place": "post"})
    model.save_pretrained(tmp_path)
    theirs = by_its_own_code(tmp_path, "AutoModelForImageClassification")
    assert theirs.config.id2label == dict(enumerate("abcde"))
    assert not hasattr(theirs.config, "vocab_size")
    ours = BaseModel.from_pretrained(tmp_path)
    assert type(ours) is VisionTransformer and ours.attention_in_use == "sdpa"
    logits = model(pixel_values=images()).logits
    assert torch.equal(ours.eval()(pixel_values=images()).logits, logits)
    torch.testing.assert_close(theirs(pixel_values=images()).logits, logits)


def test_a_transformer_of_others_is_refused(tmp_path: Path) -> None:
    theirs = ViTForImageClassification(ViTConfig(**FIELDS | {"image_size": 8}))
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"weights have missing keys: .*vit.embed.projection"):
        BaseModel.from_pretrained(tmp_path)


def test_recomputed_activations_and_both_kernels_give_the_same_gradients() -> None:
    def gradients(recomputed: bool, kernel: str = "sdpa") -> list[Tensor]:
        model = made(training={"attn_implementation": kernel}, dropout=0.0, attention_dropout=0.0)
        assert model.attention_in_use == kernel
        if recomputed:
            model.gradient_checkpointing_enable()
        model.train()(pixel_values=images(), labels=torch.arange(4)).loss.backward()
        assert model.hf_model.vit.stack.gradient_checkpointing is recomputed
        return [p.grad for p in model.parameters() if p.grad is not None]

    expected = gradients(False)
    torch.testing.assert_close(gradients(True), expected)
    torch.testing.assert_close(gradients(False, "eager"), expected)


def test_a_forward_pass_in_bf16_is_near_that_in_fp32() -> None:
    model, labels = made(), torch.arange(4)
    expected = model(pixel_values=images(), labels=labels)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(pixel_values=images(), labels=labels)
    torch.testing.assert_close(output.loss, expected.loss, atol=0.02, rtol=0.02)
    halved = model.to(torch.bfloat16)(pixel_values=images())
    assert halved.logits.dtype == torch.bfloat16
    torch.testing.assert_close(halved.logits.float(), expected.logits, atol=0.05, rtol=0.05)


def test_images_of_another_size_are_refused() -> None:
    law = "are 6 x 4 pixels, but the model reads 4 x 6; resize them"
    with pytest.raises(ValueError, match=law):
        made()(pixel_values=images(6, 4))
    assert made().num_positions is None  # which would be the length of a text


@pytest.mark.parametrize("size", [[4, 5], [3, 6]])
def test_patches_fill_an_image(size: list[int]) -> None:
    law = rf"^model.vit.patch_size \(=2\) must divide .* which are {size[0]} x {size[1]} pixels"
    with pytest.raises(ConfigError, match=law):
        made(arguments={"image_size": size})
    fields = {"image_size": size, "patch_size": 2}
    with pytest.raises(ValueError, match=rf"\(=2\) must divide .*\(={size[0]} x {size[1]}\)"):
        VisionTransformerConfig(**fields)


@pytest.mark.parametrize(
    ("name", "value"), [("max_position_embeddings", 9), ("tie_word_embeddings", False)]
)
def test_settings_of_text_are_refused(name: str, value: Any) -> None:
    shown = short_repr(value)
    with pytest.raises(ConfigError, match=rf"^model.backbone.{name} \(={shown}\) is a setting of"):
        made(**{name: value})


def test_its_patches_have_published_defaults() -> None:
    raw = config().model_dump()
    del raw["model"]["vit"]
    torch.manual_seed(0)
    model = create_model_from_config(validate(raw, "vit"), **SIZES | {"image_size": [32, 16]})
    network = model.hf_model
    assert (network.config.patch_size, network.config.pooling) == (16, "cls")
    assert network.vit.stack.positions.embedding.weight.shape == (3, 16)  # two, and the token
