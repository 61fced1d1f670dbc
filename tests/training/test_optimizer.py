"""Weight decay by parameter, the built-in optimizers by their formulas, and those of plugins."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

from model_foundry.config import OPTIMIZERS, Section, SpeedConfig, TrainingConfig
from model_foundry.config.optimizers import SGDConfig
from model_foundry.errors import ConfigError
from model_foundry.training.optimizer import build_optimizer, register_optimizer


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3))


def test_updates_equal_the_formula_of_adamw() -> None:
    """One update by hand: p * (1 - lr * decay) - lr * m_hat / (sqrt(v_hat) + eps)."""
    config = TrainingConfig(max_steps=1, learning_rate=0.1, weight_decay=0.5, adam_epsilon=1e-8)
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(2.0)
    optimizer = build_optimizer(model, config)
    (3 * model.weight).sum().backward()
    optimizer.step()
    # at the first step m_hat = g and v_hat = g^2, so the step is lr in the gradient's direction
    assert model.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)


@pytest.mark.parametrize(("asked", "settled"), [(True, True), (False, None)])
def test_updates_are_fused_unless_that_is_switched_off(asked: bool, settled: bool | None) -> None:
    config = TrainingConfig(max_steps=1, speed=SpeedConfig(fused_optimizer=asked))
    assert build_optimizer(small_model(), config).defaults["fused"] is settled


def test_updates_are_the_same_fused_or_not() -> None:
    found = []
    for fused in (True, False):
        torch.manual_seed(0)
        model = small_model()
        config = TrainingConfig(max_steps=1, speed=SpeedConfig(fused_optimizer=fused))
        optimizer = build_optimizer(model, config)
        for step in range(20):
            for parameter in model.parameters():
                parameter.grad = torch.sin(parameter.detach() * 9 + step)
            optimizer.step()
        found.append([parameter.detach() for parameter in model.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def one_weight(**settings: Any) -> tuple[nn.Linear, torch.optim.Optimizer]:
    """Return a model of the weight 2, whose gradient is 3, and its optimizer."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(2.0)
    config = TrainingConfig(max_steps=1, learning_rate=0.1, weight_decay=0.5, **settings)
    return model, build_optimizer(model, config)


@pytest.mark.parametrize(
    ("section", "directions"),
    [
        ({}, [1, 1]),
        ({"momentum": 0.5}, [1, 1.5]),  # b = m * b + g
        ({"momentum": 0.5, "nesterov": True}, [1.5, 1.75]),  # g + m * b
    ],
)
def test_updates_equal_the_formula_of_sgd(section: Any, directions: list[float]) -> None:
    model, optimizer = one_weight(optimizer="sgd", sgd=section)
    expected = 2.0
    for direction in directions:
        model.weight.grad = 4 - 0.5 * model.weight.detach()  # with the decay of 0.5 it is 4
        optimizer.step()
        expected -= 0.1 * 4 * direction
        assert model.weight.item() == pytest.approx(expected, abs=1e-6)


def test_sgd_is_fused_unless_that_is_switched_off_or_parameters_are_sharded() -> None:
    for settings, fused in (
        ({}, True),
        ({"speed": SpeedConfig(fused_optimizer=False)}, None),
        ({"distributed": {"strategy": "fsdp2"}}, None),
    ):
        assert one_weight(optimizer="sgd", **settings)[1].defaults["fused"] is fused


def test_adafactor_refuses_sharded_parameters() -> None:
    with pytest.raises(
        ConfigError, match=r"^training\.optimizer \(=adafactor\) cannot .*: ddp, or"
    ):
        one_weight(optimizer="adafactor", distributed={"strategy": "fsdp2"})


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValueError, match="nesterov: needs momentum > 0"):
        SGDConfig(nesterov=True)


# --- plugins --------------------------------------------------------------------------------------


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
