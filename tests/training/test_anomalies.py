"""The first NaN is named: a module of the forward pass, or an operation of the backward pass."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from model_foundry.errors import NonFiniteError
from model_foundry.training.anomalies import naming_anomalies


class Root(nn.Module):
    """The square root, whose gradient at 0 is infinite."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


class Model(nn.Module):
    """A layer, and something that may go wrong after it."""

    def __init__(self, after: nn.Module) -> None:
        super().__init__()
        self.layer, self.after = nn.Linear(2, 2, bias=False), after

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        return {"found": [self.after(self.layer(x))]}


def test_a_module_is_named_with_its_step() -> None:
    model = Model(Root())
    nn.init.constant_(model.layer.weight, -1.0)
    with (
        pytest.raises(NonFiniteError, match=r"step 7: the output of Root 'after' has NaN, while"),
        naming_anomalies(model, lambda: 7),
    ):
        model(torch.ones(1, 2))


def test_an_input_that_has_it_is_told() -> None:
    with (
        pytest.raises(NonFiniteError, match="the output of Linear 'layer' has NaN, as its inputs"),
        naming_anomalies(model := Model(Root()), lambda: 1),
    ):
        model(torch.tensor([[0.0, torch.nan]]))


def test_an_operation_is_named_with_the_line_that_called_it() -> None:
    model = Model(Root())
    nn.init.zeros_(model.layer.weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(NonFiniteError) as named, naming_anomalies(model, lambda: 3):
            found = model(torch.ones(1, 2))["found"][0]
            (found * 0).sum().backward()
    line = Root.forward.__code__.co_firstlineno + 1
    made = f"operation 'SqrtBackward0', called in {__file__}:{line}, is NaN"
    assert str(named.value).startswith(f"step 3: the gradient of the {made}")


def test_nothing_is_left_behind() -> None:
    model = Model(nn.Identity())
    with naming_anomalies(model, lambda: 1):
        assert torch.is_anomaly_enabled()
        nn.init.ones_(model.layer.weight)
        found = model(torch.full((1, 2), torch.inf))["found"][0]
        assert torch.isinf(found).all()  # as masks have it
    assert not torch.is_anomaly_enabled()
    assert not any(module._forward_hooks for module in model.modules())


def test_an_evaluation_and_other_errors_are_left_alone() -> None:
    model = Model(Root()).eval()
    with naming_anomalies(model, lambda: 1):
        model(torch.tensor([[torch.nan, 0.0]]))
    with pytest.raises(RuntimeError, match="mine"), naming_anomalies(model, lambda: 1):
        raise RuntimeError("mine")


def test_inactive_it_does_nothing() -> None:
    model = Model(Root())
    with naming_anomalies(model, lambda: 1, active=False):
        assert not torch.is_anomaly_enabled()
        model(torch.full((1, 2), torch.nan))
