"""Weight decay by parameter, and AdamW against that of torch."""

import pytest
import torch
from torch import nn

from model_foundry.config import SpeedConfig, TrainingConfig
from model_foundry.training.optimizer import build_optimizer, decay_groups


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3))


def test_only_matrices_decay() -> None:
    model = small_model()
    decays, spared = decay_groups(model.named_parameters(), 0.1)
    assert decays["weight_decay"] == 0.1 and spared["weight_decay"] == 0.0
    assert [tuple(p.shape) for p in decays["params"]] == [(5, 4), (3, 4)]
    assert [tuple(p.shape) for p in spared["params"]] == [(4,), (4,), (3,)]


def test_frozen_parameters_are_left_out() -> None:
    model = small_model()
    model[0].weight.requires_grad_(False)
    shapes = [tuple(p.shape) for p in decay_groups(model.named_parameters(), 0.1)[0]["params"]]
    assert shapes == [(3, 4)]


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
