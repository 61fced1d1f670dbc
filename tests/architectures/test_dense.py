"""The multi-layer perceptron, compared with torch's layers, and its two losses."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_foundry.architectures import BaseModel, DenseModel, create_model_from_config
from model_foundry.architectures.losses import classification_loss
from model_foundry.config import ExperimentConfig, validate
from model_foundry.errors import ConfigError
from model_foundry.foundation.labels import IGNORE_INDEX

SIZES: dict[str, Any] = {"num_channels": 3, "image_size": [2, 4], "labels": [*"abcde"]}


def config(**section: Any) -> ExperimentConfig:
    raw = {
        "experiment_name": "dense",
        "data": {"train": {"images": "pictures"}},
        "model": {"architecture": "dense", "dense": {"hidden_sizes": [7, 6], **section}},
        "training": {"objective": "image_classification", "max_steps": 1},
    }
    return validate(raw, "dense")


def made(**section: Any) -> BaseModel:
    torch.manual_seed(0)
    return create_model_from_config(config(**section), **SIZES).eval()


def images(number: int = 4) -> Tensor:
    return torch.randn(number, 3, 2, 4, generator=torch.Generator().manual_seed(0))


def test_the_logits_are_those_of_torch() -> None:
    model = made(activation="tanh", norm="layer_norm", dropout=0.5)
    linears = [each for each in model.modules() if isinstance(each, nn.Linear)]
    assert [(each.in_features, each.out_features) for each in linears] == [(24, 7), (7, 6), (6, 5)]
    hidden = images().reshape(4, 24)
    for linear in linears[:-1]:
        hidden = torch.tanh(F.layer_norm(linear(hidden), linear.weight.shape[:1]))
    expected = linears[-1](hidden)
    torch.testing.assert_close(model(pixel_values=images()).logits, expected)
    model.train()
    assert not torch.equal(model(pixel_values=images()).logits, expected)


def test_without_hidden_layers_it_is_a_linear_classifier() -> None:
    assert made(hidden_sizes=[]).get_parameter_count() == 24 * 5 + 5


def test_one_label_each_or_any_number() -> None:
    model, classes = made(), torch.tensor([0, 4, IGNORE_INDEX, 2])
    output = model(pixel_values=images(), labels=classes)
    torch.testing.assert_close(output.loss, F.cross_entropy(output.logits, classes))
    several = torch.eye(5)[[0, 4, 1, 2]] + torch.eye(5)[[1, 3, 3, 3]]
    output = model(pixel_values=images(), labels=several)
    expected = F.binary_cross_entropy_with_logits(output.logits, several)
    torch.testing.assert_close(output.loss, expected)


@pytest.mark.parametrize("labels", [torch.full((2,), IGNORE_INDEX), torch.zeros(0, 3)])
def test_without_targets_the_loss_is_zero_and_has_a_graph(labels: Tensor) -> None:
    logits = torch.ones(len(labels), 3, requires_grad=True)
    loss = classification_loss(logits, labels)
    assert loss is not None and loss.item() == 0
    loss.backward()
    assert logits.grad is not None and not logits.grad.any()


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    model = made()
    model.save_pretrained(tmp_path)
    loaded = BaseModel.from_pretrained(tmp_path)
    assert type(loaded) is DenseModel
    assert torch.equal(loaded(pixel_values=images()).logits, model(pixel_values=images()).logits)


def test_it_trains_on_images_only() -> None:
    raw = config().model_dump() | {"training": {"objective": "causal_lm", "max_steps": 1}}
    with pytest.raises(ConfigError, match="'dense' is of kind 'image_classifier'"):
        validate(raw, "dense")
