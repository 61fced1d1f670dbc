"""The built-in optimizers: by their formulas, and bit for bit as torch's own."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from model_foundry.config import OPTIMIZERS, SpeedConfig, TrainingConfig
from model_foundry.config.optimizers import MuonConfig, SGDConfig
from model_foundry.errors import ConfigError
from model_foundry.training.optimizer import build_optimizer, set_learning_rate
from tests.training.test_optimizer import one_weight


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


@pytest.mark.parametrize("name", ["adafactor", "adagrad"])
def test_sharded_parameters_are_refused_by(name: str) -> None:
    law = rf"^training\.optimizer \(={name}\) cannot update sharded .*: ddp, or"
    with pytest.raises(ConfigError, match=law):
        one_weight(optimizer=name, distributed={"strategy": "fsdp2"})


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ValueError, match="nesterov: needs momentum > 0"):
        SGDConfig(nesterov=True)


# --- against torch --------------------------------------------------------------------------------

RATES = (0.02, 0.01, 0.03, 0.02)
ADAM = {"betas": (0.8, 0.95), "eps": 1e-6}
OF_ADAM = {"adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6}
Make = Callable[..., Optimizer]
# settings of ours, and torch's own with the same ones
AGAINST_TORCH: dict[str, tuple[dict[str, Any], Make, dict[str, Any]]] = {
    "adamw": (OF_ADAM, torch.optim.AdamW, {**ADAM, "fused": True}),
    "adam": (OF_ADAM, torch.optim.Adam, {**ADAM, "fused": True}),
    "adamax": (OF_ADAM, torch.optim.Adamax, ADAM),
    "nadam": (
        {**OF_ADAM, "nadam": {"momentum_decay": 0.01}},
        torch.optim.NAdam,
        {**ADAM, "momentum_decay": 0.01, "decoupled_weight_decay": True},
    ),
    "radam": (OF_ADAM, torch.optim.RAdam, {**ADAM, "decoupled_weight_decay": True}),
    "sgd": (
        {"sgd": {"momentum": 0.7, "nesterov": True}},
        torch.optim.SGD,
        {"momentum": 0.7, "nesterov": True, "fused": True},
    ),
    "adafactor": ({}, torch.optim.Adafactor, {}),
    "rmsprop": (
        {"rmsprop": {"alpha": 0.9, "momentum": 0.5, "centered": True, "epsilon": 1e-5}},
        torch.optim.RMSprop,
        {"alpha": 0.9, "momentum": 0.5, "centered": True, "eps": 1e-5},
    ),
    "adagrad": (
        {"adagrad": {"initial_accumulator_value": 0.1, "epsilon": 1e-6}},
        torch.optim.Adagrad,
        {"initial_accumulator_value": 0.1, "eps": 1e-6},
    ),
    "adadelta": (
        {"adadelta": {"rho": 0.8, "epsilon": 1e-5}},
        torch.optim.Adadelta,
        {"rho": 0.8, "eps": 1e-5},
    ),
}


def updated(model: nn.Module, optimizers: dict[Optimizer, float], count: int) -> list[torch.Tensor]:
    """Make updates; each optimizer has a multiple of the learning rate."""
    for step in range(count):
        for parameter in model.parameters():
            parameter.grad = torch.sin(parameter.detach() * 9 + step + 1)
        for optimizer, multiple in optimizers.items():
            set_learning_rate(optimizer, RATES[step] * multiple)
            optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


def groups_by_hand(model: nn.Sequential, decay: float) -> list[dict[str, Any]]:
    matrices = [model[0].weight, model[2].weight]
    vectors = [model[1].weight, model[1].bias, model[2].bias]
    return [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def test_every_optimizer_is_compared() -> None:
    ours = {spec.name for spec in OPTIMIZERS.known() if spec.target.startswith("model_foundry")}
    assert ours == {*AGAINST_TORCH, "muon"}


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("name", sorted(AGAINST_TORCH))
def test_updates_are_those_of_torch_bit_for_bit(name: str, count: int) -> None:
    settings, make, arguments = AGAINST_TORCH[name]
    one, other = small_model(), small_model()
    config = TrainingConfig(
        max_steps=1, learning_rate=0.02, optimizer=name, weight_decay=0.5, **settings
    )
    ours = updated(one, {build_optimizer(one, config): 1.0}, count)
    theirs = make(groups_by_hand(other, 0.5), lr=0.02, **arguments)
    assert all(map(torch.equal, ours, updated(other, {theirs: 1.0}, count)))
    moved = [not torch.equal(*pair) for pair in zip(ours, small_model().parameters(), strict=True)]
    assert all(moved)


# --- Muon -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize(
    ("section", "arguments", "multiple"),
    [
        ({}, {}, 1.0),
        (
            {"learning_rate": 0.08, "weight_decay": 0.2, "adjust_lr_fn": "original"},
            {"weight_decay": 0.2, "adjust_lr_fn": "original"},
            4.0,
        ),
        (
            {"momentum": 0.8, "nesterov": False, "ns_steps": 3},
            {"momentum": 0.8, "nesterov": False, "ns_steps": 3},
            1.0,
        ),
    ],
)
def test_muon_is_torchs_for_hidden_matrices_and_adamw_for_the_rest(
    section: dict[str, Any], arguments: dict[str, Any], multiple: float, count: int
) -> None:
    one, other = small_model(), small_model()
    settings = {"learning_rate": 0.02, "weight_decay": 0.5, **OF_ADAM}
    config = TrainingConfig(max_steps=1, optimizer="muon", muon=section, **settings)  # type: ignore[call-arg]
    ours = updated(one, {build_optimizer(one, config): 1.0}, count)
    embedding, norm, linear = other
    torchs = {"weight_decay": 0.5, "adjust_lr_fn": "match_rms_adamw"} | arguments
    muon = torch.optim.Muon([linear.weight], lr=0.02, **torchs)
    adamw = torch.optim.AdamW(
        [
            {"params": [embedding.weight], "weight_decay": 0.5},
            {"params": [*norm.parameters(), linear.bias], "weight_decay": 0.0},
        ],
        **ADAM,
        fused=True,
    )
    theirs = updated(other, {muon: multiple, adamw: 1.0}, count)
    assert all(map(torch.equal, ours, theirs))


def test_muon_keeps_one_state_whatever_replaces_it() -> None:
    """As Accelerate does when it prepares an optimizer."""
    one, other = small_model(), small_model()
    config = TrainingConfig(max_steps=1, optimizer="muon")
    plain, loaded = (build_optimizer(model, config) for model in (one, other))
    loaded.load_state_dict(loaded.state_dict())
    updated(one, {plain: 1.0}, 2)
    updated(other, {loaded: 1.0}, 1)
    other.load_state_dict(one.state_dict())
    loaded.load_state_dict(copy.deepcopy(plain.state_dict()))
    assert all(map(torch.equal, updated(one, {plain: 1}, 2), updated(other, {loaded: 1}, 2)))
    kept = [sorted(loaded.state[parameter]) for parameter in other.parameters()]
    matrix, rest = ["momentum_buffer"], ["exp_avg", "exp_avg_sq", "step"]
    assert kept == [rest, rest, rest, matrix, rest]


def test_muon_computes_a_loss_with_gradients_and_returns_it() -> None:
    model = small_model()
    optimizer = build_optimizer(model, TrainingConfig(max_steps=1, optimizer="muon"))

    def loss() -> float:
        found = model(torch.tensor([1, 2])).sum()
        found.backward()
        return float(found.detach())

    before = small_model()(torch.tensor([1, 2])).sum().item()
    assert optimizer.step(loss) == before
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("steps", [0, 100])
def test_iterations_of_muon_are_limited(steps: int) -> None:
    with pytest.raises(ValueError, match="ns_steps"):
        MuonConfig(ns_steps=steps)
