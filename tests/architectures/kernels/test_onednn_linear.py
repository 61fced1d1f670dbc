"""Products by oneDNN, against torch's own; what they leave alone; what they do not change."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from model_foundry.architectures import BaseLanguageModel, create_model_from_config
from model_foundry.architectures.kernels import onednn_linear
from model_foundry.architectures.kernels.onednn_linear import (
    OneDnnConv1D,
    OneDnnLinear,
    use_onednn_linear,
)
from model_foundry.config import ExperimentConfig

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(5, 7),
    "linear without bias": lambda: nn.Linear(5, 7, bias=False),
    "transformers' Conv1D": lambda: Conv1D(7, 5),
}
INPUTS: dict[str, Callable[[], Tensor]] = {
    "rows": lambda: torch.randn(6, 5),
    "batch": lambda: torch.randn(2, 3, 5),
    "transposed": lambda: torch.randn(5, 6).t(),
    "slice": lambda: torch.randn(2, 4, 5)[:, :-1],
    "one row": lambda: torch.randn(1, 1, 5),
}


@pytest.fixture(params=LAYERS)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    """Return a layer, and a copy of it that multiplies by oneDNN."""
    layer = LAYERS[request.param]()
    other = copy.deepcopy(layer)
    use_onednn_linear(other)
    return layer, other


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with each product by oneDNN."""
    seen: list[int] = []
    original = onednn_linear.linear

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        seen.append(1)
        return original(x, weight, bias)

    monkeypatch.setattr(onednn_linear, "linear", counted)
    return seen


def gradients(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the output, and the gradients of input and parameters under varied slopes."""
    x = x.clone().requires_grad_()
    y = layer(x)
    slopes = torch.arange(y.numel(), dtype=y.dtype).view_as(y) / 10
    return [y.detach(), *torch.autograd.grad(y, [x, *layer.parameters()], slopes)]


@pytest.mark.parametrize("name", INPUTS)
def test_outputs_and_gradients_are_those_of_torch(
    name: str, pair: tuple[nn.Module, nn.Module], calls: list[int]
) -> None:
    x = INPUTS[name]()
    torch.testing.assert_close(gradients(pair[1], x), gradients(pair[0], x))
    assert len(calls) == 3  # forward, and two products backward


def test_only_gradients_that_are_wanted_are_computed(
    pair: tuple[nn.Module, nn.Module], calls: list[int]
) -> None:
    pair[1](torch.randn(6, 5)).sum().backward()
    assert len(calls) == 2
    for parameter in pair[1].parameters():
        parameter.requires_grad_(False)
    x = torch.randn(6, 5, requires_grad=True)
    pair[1](x).sum().backward()
    assert len(calls) == 4
    assert x.grad is not None


@pytest.mark.parametrize("kind", ["double", "empty", "one dimension", "meta", "autocast"])
def test_what_it_does_not_suit_goes_the_usual_way(
    kind: str, pair: tuple[nn.Module, nn.Module], calls: list[int]
) -> None:
    x = torch.randn(6, 5)
    if kind == "double":
        x, pair = x.double(), (pair[0].double(), pair[1].double())
    elif kind == "empty":
        x = x[:0]
    elif kind == "one dimension":
        if isinstance(pair[0], Conv1D):
            pytest.skip("Conv1D takes no single vector")
        x = x[0]
    elif kind == "meta":
        assert pair[1].to("meta")(x.to("meta")).is_meta
        return
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "autocast"):
        torch.testing.assert_close(gradients(pair[1], x), gradients(pair[0], x), rtol=0, atol=0)
    assert calls == []


def test_a_layer_can_be_copied_and_pickled(pair: tuple[nn.Module, nn.Module]) -> None:
    layer = pair[1]
    assert layer.state_dict().keys() == pair[0].state_dict().keys()
    x = torch.randn(6, 5)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(copied) in (OneDnnLinear, OneDnnConv1D)
        assert torch.equal(copied(x), layer(x))
        assert copied.weight is not layer.weight


def test_recomputed_activations_have_the_same_gradients(
    pair: tuple[nn.Module, nn.Module],
) -> None:
    x = torch.randn(6, 5, requires_grad=True)
    expected = gradients(pair[1], x)[1:]
    y = checkpoint(pair[1], x, use_reentrant=False)
    slopes = torch.arange(y.numel(), dtype=y.dtype).view_as(y) / 10
    found = torch.autograd.grad(y, [x, *pair[1].parameters()], slopes)
    assert all(map(torch.equal, found, expected))


def test_subclasses_of_linear_layers_stay_what_they_are() -> None:
    class Special(nn.Linear):
        pass

    model = nn.Sequential(Special(2, 2), nn.Linear(2, 2))
    use_onednn_linear(model)
    assert [type(layer) for layer in model] == [Special, OneDnnLinear]


@pytest.mark.parametrize(
    ("asked", "kinds"), [("auto", 0), ("default", 0), ("onednn", 1), ("tf32", 0)]
)
@pytest.mark.parametrize("name", ["bert", "gpt2", "lstm"])
def test_onednn_products_follow_the_experiment(
    name: str, asked: str, kinds: int, tiny_config: Callable[..., ExperimentConfig], tmp_path: Path
) -> None:
    config = tiny_config(name, training={"speed": {"fp32_products": asked}})
    model = create_model_from_config(config, vocab_size=61)
    linear = [m for m in model.modules() if isinstance(m, nn.Linear | Conv1D)]
    changed = [m for m in linear if isinstance(m, OneDnnLinear | OneDnnConv1D)]
    assert len(changed) == kinds * len(linear)
    model.eval().save_pretrained(tmp_path)
    loaded = BaseLanguageModel.from_pretrained(tmp_path).eval()
    ids = torch.randint(3, 61, (2, 6))
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits, rtol=0, atol=1e-6)
