"""Which parameters are hidden matrices, and which decay, in every kind of model."""

from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import nn

from model_foundry.architectures.dense import DenseModel
from model_foundry.config import DenseConfig
from model_foundry.model import create_model
from model_foundry.training.parameter_groups import MATRICES, OTHERS, VECTORS, parameter_groups
from tests.experiments import MODELS, tiny_experiment


def named_groups(model: nn.Module, weight_decay: float = 0.1) -> dict[str, list[str]]:
    """Return the names of the parameters of each kind."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        group["kind"]: [names[id(parameter)] for parameter in group["params"]]
        for group in parameter_groups(model, weight_decay)
    }


def test_vectors_do_not_decay() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Conv1d(4, 4, 2), nn.Linear(4, 3))
    assert named_groups(model) == {
        MATRICES: ["3.weight"],
        OTHERS: ["0.weight", "2.weight"],
        VECTORS: ["1.weight", "1.bias", "2.bias", "3.bias"],
    }
    decays = {group["kind"]: group["weight_decay"] for group in parameter_groups(model, 0.1)}
    assert decays == {MATRICES: 0.1, OTHERS: 0.1, VECTORS: 0.0}


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    model[0].weight.requires_grad_(False)
    assert named_groups(model)[MATRICES] == ["1.weight"]


OUTER = ("embed", "wte", "wpe", "head", "predictions")  # parts of names


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_hidden_matrices_are_those_between_embeddings_and_output(kind: str, tmp_path: Path) -> None:
    model = create_model(tiny_experiment(kind, tmp_path))
    groups = named_groups(model)
    assert sorted(chain(*groups.values())) == sorted(name for name, _ in model.named_parameters())
    parameters = dict(model.named_parameters())
    assert all(parameters[name].dim() == 2 for name in groups[MATRICES])
    assert all(parameters[name].dim() < 2 for name in groups[VECTORS])
    assert groups[MATRICES] and groups[OTHERS]
    assert not [name for name in groups[MATRICES] if 300 in parameters[name].shape]  # tokens
    inside = {name for name in groups[MATRICES] if any(part in name for part in OUTER)}
    assert not inside
    assert {name for name in groups[OTHERS] if not any(part in name for part in OUTER)} == set()


def test_the_output_layer_of_a_classifier_is_no_hidden_matrix() -> None:
    section = DenseConfig(hidden_sizes=[6, 5])
    model = DenseModel(section, num_channels=1, image_size=[2, 2], labels=["a", "b"])
    assert named_groups(model)[OTHERS] == ["output.weight"]
    assert [tuple(p.shape) for p in parameter_groups(model, 0)[0]["params"]] == [(6, 4), (5, 6)]


def test_a_body_without_a_name_has_its_output_layer_left_out() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.hidden = nn.Embedding(7, 4), nn.Linear(4, 4)
            self.head = nn.Linear(4, 7, bias=False)

        def get_output_embeddings(self) -> nn.Linear:
            return self.head

    assert named_groups(Whole())[MATRICES] == ["hidden.weight"]
    assert named_groups(Whole())[OTHERS] == ["embed.weight", "head.weight"]
    assert torch.is_tensor(parameter_groups(Whole(), 0.0)[0]["params"][0])
