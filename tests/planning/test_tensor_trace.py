"""Live bytes and operations against tensors that are counted by hand."""

import pytest
import torch
from torch import Tensor, nn

from model_foundry.planning.tensor_trace import TensorTrace

KB = 1000  # numbers of 4 bytes


def test_a_tensor_counts_while_it_lives_and_a_view_of_it_does_not() -> None:
    with TensorTrace() as trace:
        first = torch.zeros(KB)
        view = first.view(10, 100)[2:]
        assert trace.live == 4 * KB
        second = torch.ones(KB) + first
        assert (trace.live, trace.peak) == (8 * KB, 12 * KB)  # the ones are gone
        del first
        assert trace.live == 8 * KB  # the view holds it
        del view, second
    assert (trace.live, trace.peak) == (0, 12 * KB)


def test_what_was_there_before_counts_once() -> None:
    weight = torch.zeros(KB)
    with TensorTrace([weight, weight.view(10, 100)]) as trace:
        weight.add_(1)
        assert trace.live == trace.peak == 4 * KB


def test_a_restart_forgets_the_peak_but_not_what_lives() -> None:
    with TensorTrace() as trace:
        kept = torch.zeros(KB)
        torch.zeros(10 * KB)
        trace.restart()
        assert trace.peak == trace.live == kept.nbytes
        assert trace.operations == 0


def test_wide_tensors_are_counted_apart_at_the_peak() -> None:
    with TensorTrace(wide=50) as trace:
        logits, other = torch.zeros(4, 50), torch.zeros(KB)
    assert trace.wide_at_peak == logits.nbytes
    assert trace.peak == logits.nbytes + other.nbytes


def test_what_a_backward_pass_needs_is_what_autograd_saves() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.GELU())
    inputs, saved = torch.randn(32, 64), dict[int, int]()
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), inputs)}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = model(inputs)
    by_autograd = sum(saved.values()) + kept.nbytes
    del kept
    with TensorTrace([*model.parameters(), inputs]) as trace:
        before = trace.live
        output = model(inputs)
        assert trace.live - before == pytest.approx(by_autograd, rel=0.05)
        del output
        assert trace.live == before


@pytest.mark.parametrize("layer", ["linear", "lstm"])
def test_a_step_takes_six_operations_for_each_weight_and_position(layer: str) -> None:
    torch.manual_seed(0)
    rows, length, width = 4, 8, 16
    inputs = torch.randn(rows, length, width, requires_grad=True)
    with TensorTrace() as trace:
        if layer == "linear":
            module: nn.Module = nn.Linear(width, 24)
            module(inputs).sum().backward()
        else:
            module = nn.LSTM(width, 24, batch_first=True)
            module(inputs)[0].sum().backward()
    weights = sum(p.numel() for p in module.parameters() if p.dim() > 1)
    # the first state of a recurrence is not multiplied on the way back everywhere
    assert trace.operations == pytest.approx(6 * weights * rows * length, rel=0.1)
