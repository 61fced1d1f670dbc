"""Optimizers of plugins: what they are given, what they must return, and the rate of a group."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

from model_foundry.config import OPTIMIZERS, Section, TrainingConfig
from model_foundry.errors import ConfigError
from model_foundry.training.optimizer import (
    build_optimizer,
    register_optimizer,
    set_learning_rate,
)


def one_weight(**settings: Any) -> tuple[nn.Linear, torch.optim.Optimizer]:
    """Return a model of the weight 2, whose gradient is 3, and its optimizer."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(2.0)
    config = TrainingConfig(max_steps=1, learning_rate=0.1, weight_decay=0.5, **settings)
    return model, build_optimizer(model, config)


@pytest.fixture
def forgotten() -> Iterator[str]:
    """The name of a plugin's optimizer, which is forgotten afterwards."""
    yield "mine"
    OPTIMIZERS.remove("mine")


class Mine(Section):
    decay: float = 0.25


def test_an_optimizer_of_a_plugin_gets_groups_settings_and_its_section(forgotten: str) -> None:
    given: list[Any] = []

    @register_optimizer(forgotten, schema=Mine, settings=("weight_decay",))
    def mine(groups: Any, training: TrainingConfig, section: Mine) -> torch.optim.Optimizer:
        given.extend((copy.copy(groups), training.learning_rate, section))
        return torch.optim.SGD(groups, lr=training.learning_rate)

    one_weight(optimizer=forgotten, mine={"decay": 0.75})
    groups, rate, section = given
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.5), (0, 0.5), (0, 0.0)]
    assert (rate, section) == (0.1, Mine(decay=0.75))
    assert OPTIMIZERS[forgotten].settings == ("weight_decay",)


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (lambda groups, training: None, r"must return a torch.optim.Optimizer, got NoneType"),
        (lambda groups, training: SGD([torch.ones(1)]), "must give all parameters of its groups"),
        (lambda groups, training: SGD([*groups[0]["params"], torch.ones(1)]), "must give all"),
    ],
)
def test_an_optimizer_of_other_parameters_is_refused(make: Any, law: str, forgotten: str) -> None:
    register_optimizer(forgotten)(make)
    with pytest.raises(ConfigError, match=rf"^training\.optimizer: the function of 'mine' {law}"):
        one_weight(optimizer=forgotten)


def test_only_a_function_is_registered() -> None:
    with pytest.raises(TypeError, match="cannot be optimizer 'mine': it must be a function"):
        register_optimizer("mine")(torch.optim.SGD)


def test_a_group_with_a_scale_gets_that_multiple_of_the_rate() -> None:
    _, optimizer = one_weight()
    optimizer.param_groups[1]["lr_scale"] = 0.5
    set_learning_rate(optimizer, 0.3)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.15, 0.3]
