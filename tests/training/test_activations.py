"""Statistics of activations: right figures, of the right layers, without a trace in the model."""

import pytest
import torch
from torch import nn

from model_foundry.architectures.modeling.feed_forward import FeedForward
from model_foundry.training.activations import activation_figures


class Stack(nn.Module):
    """Two layers, whose second unit is always dead."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        self.relu, self.tanh = nn.ReLU(), nn.Tanh()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.tanh(self.relu(x))


def test_figures_are_those_of_all_batches_together() -> None:
    torch.manual_seed(0)
    model, batches = Stack(), [torch.randn(3, 5, 2), torch.randn(1, 5, 2)]
    with activation_figures(model) as found, torch.no_grad():
        for batch in batches:
            model(batch)
    outputs = torch.cat([model.layers[0](batch) for batch in batches])
    assert found["activations/layers.0/mean"] == pytest.approx(outputs.mean().item(), abs=1e-6)
    deviation = outputs.std(correction=0).item()
    assert found["activations/layers.0/std"] == pytest.approx(deviation, rel=1e-5)
    assert {name.split("/")[1] for name in found} == {"layers.0", "layers.1", "relu", "tanh"}


def test_a_unit_is_dead_if_no_token_reaches_it() -> None:
    model = Stack()
    with torch.no_grad():
        model.layers[1].weight.copy_(torch.eye(2) * 100)
        model.layers[1].bias.copy_(torch.tensor([0.0, -1e6]))
    with activation_figures(model) as found, torch.no_grad():
        model(torch.randn(4, 6, 2, generator=torch.Generator().manual_seed(0)))
    assert found["activations/relu/dead"] == 0.5
    assert 0 < found["activations/tanh/saturated"] <= 0.5
    assert "activations/layers.1/dead" not in found


def test_our_feed_forward_has_a_nonlinearity_though_it_is_no_module() -> None:
    model = nn.Sequential(FeedForward(2, 8, "relu"))
    with torch.no_grad():
        model[0].up.bias.fill_(-1e6)
    with activation_figures(model) as found, torch.no_grad():
        model(torch.randn(1, 3, 2))
    assert found["activations/0.activation/dead"] == 1.0


def test_a_model_without_stacks_is_measured_by_its_smallest_modules() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(), nn.Linear(3, 1))
    with activation_figures(model) as found, torch.no_grad():
        model(torch.randn(4, 2))
    assert {name.split("/")[1] for name in found} == {"0", "2"}


def test_no_hook_stays() -> None:
    model = Stack()
    with pytest.raises(ZeroDivisionError), activation_figures(model):
        raise ZeroDivisionError
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
