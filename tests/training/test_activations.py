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


def test_a_nonlinearity_shared_by_layers_of_different_width_has_no_dead_units() -> None:
    relu = nn.ReLU()
    for widths in ((3, 2), (3, 1), (1, 3)):
        model = nn.Sequential(nn.Linear(4, widths[0]), relu, nn.Linear(*widths), relu)
        with activation_figures(model) as found, torch.no_grad():
            for _ in range(2):
                model(torch.randn(5, 4))
        assert {name for name in found if name.startswith("activations/1/")} == {
            "activations/1/mean",
            "activations/1/std",
        }


def test_rows_of_different_length_are_measured() -> None:
    model = nn.Sequential(nn.Softmax(-1))
    with activation_figures(model) as found, torch.no_grad():
        for length in (3, 5, 3):
            model(torch.zeros(2, length, length))
    assert found.keys() == {"activations/0/mean", "activations/0/std"}
    assert found["activations/0/mean"] == pytest.approx((2 * 9 / 3 + 25 / 5) / (2 * 9 + 25))


def test_the_units_of_a_convolution_are_its_channels() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU())
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.copy_(torch.tensor([0.0, 0.0, 0.0, -1e6]))
    with activation_figures(model) as found, torch.no_grad():
        for width in (6, 7):
            model(torch.ones(2, 1, 5, width))
    assert found["activations/1/dead"] == 0.25


def test_what_cannot_be_counted_is_left_out_with_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel")

    model = Stack()
    with activation_figures(model) as found, torch.no_grad():
        model.tanh(torch.empty(0, 2))
        model(torch.ones(1, 2))
        with monkeypatch.context() as patched:
            patched.setattr(torch, "var_mean", fail)
            model.relu(torch.ones(1, 2))
            model.relu(torch.ones(1, 2))
    assert {name.split("/")[1] for name in found} == {"layers.0", "layers.1", "tanh"}
    (warning,) = caplog.messages
    assert "tracking.activations: relu is left out" in warning and "no kernel" in warning
