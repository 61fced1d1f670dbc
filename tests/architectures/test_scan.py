"""The scan of minGRU and minLSTM against the equations of the paper, step by step."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

from model_foundry.architectures.modeling import scan_recurrent
from model_foundry.architectures.modeling.configuration_recurrent import RecurrentConfig
from model_foundry.architectures.modeling.modeling_recurrent import RecurrentForCausalLM
from model_foundry.architectures.modeling.scan_recurrent import (
    CHUNK,
    MinGRU,
    MinLSTM,
    ScannedLayer,
    log_positive,
    positive,
    scan,
)

B, E, H = 3, 5, 7
KINDS = {"min_gru": MinGRU, "min_lstm": MinLSTM}
LENGTHS = (1, 2, 17, CHUNK, CHUNK + 1, 20 * CHUNK + 3)


@pytest.fixture(autouse=True, params=[True, False], ids=["scan", "loop"])
def _each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScannedLayer, "parallel", request.param)


def layer_of(kind: str, *, bidirectional: bool = False) -> ScannedLayer:
    """Return a layer with gates that open and close."""
    torch.manual_seed(0)
    layer = KINDS[kind](E, H, batch_first=True, bidirectional=bidirectional)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.8)
    return layer


def by_hand(layer: ScannedLayer, x: Tensor, h: Tensor | None = None, way: int = 0) -> Tensor:
    """Return the states (B, T, H) by equations 10 to 13 of the paper's listings, in a loop."""
    weight, bias = layer.gates[way].weight, layer.gates[way].bias
    h = x.new_zeros(len(x), H) if h is None else h
    states = []
    for now in x.unbind(1):
        parts = (now @ weight.t() + bias).split(H, dim=1)
        candidate = torch.where(parts[-1] < 0, torch.sigmoid(parts[-1]), parts[-1] + 0.5)
        if isinstance(layer, MinGRU):
            z = torch.sigmoid(parts[0])
            h = (1 - z) * h + z * candidate
        else:
            f, i = torch.sigmoid(parts[0]), torch.sigmoid(parts[1])
            h = f / (f + i) * h + i / (f + i) * candidate
        states.append(h)
    return torch.stack(states, dim=1)


def gradients(output: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of a sum with random weights, some of them below 0 and some 0."""
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(3)).round()
    return torch.autograd.grad((output.double() * weights).sum(), inputs)


@pytest.mark.parametrize("from_state", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_all_positions_at_once_equal_the_steps(kind: str, length: int, from_state: bool) -> None:
    layer = layer_of(kind)
    x = torch.randn(B, length, E, requires_grad=True)
    h = torch.rand(B, H, requires_grad=True) if from_state else None
    y, final = layer(x, None if h is None else h[None])
    expected = by_hand(layer, x, h)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(final, expected[None, :, -1], rtol=1e-5, atol=1e-5)
    inputs = [x, *layer.parameters(), *([] if h is None else [h])]
    for ours, theirs in zip(gradients(y, *inputs), gradients(expected, *inputs), strict=True):
        # a sum of logarithms, and gradients of both signs, cost the scan two digits
        assert (ours - theirs).norm() < (1e-4 if layer.parallel else 2e-6) * theirs.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    layer = layer_of(kind).double()
    x = torch.randn(2, 4, E, dtype=torch.double, requires_grad=True)
    h = torch.rand(1, 2, H, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, h: layer(x, h)[0], (x, h))


@pytest.mark.parametrize("length", [1, 17, 2 * CHUNK + 1])
@pytest.mark.parametrize("kind", KINDS)
def test_bf16_rounds_the_gates_alone(kind: str, length: int) -> None:
    layer = layer_of(kind)
    x = torch.randn(B, length, E, requires_grad=True)
    h = torch.rand(1, B, H)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, final = layer(x, h)
    assert y.dtype == torch.bfloat16
    assert final.dtype == torch.float32
    assert torch.equal(y[:, -1], final[0].bfloat16())
    expected = by_hand(layer, x, h[0])
    torch.testing.assert_close(y.float(), expected, rtol=0.02, atol=0.03)
    (ours,), (theirs,) = gradients(y, x), gradients(expected, x)
    assert (ours - theirs).norm() < 0.02 * theirs.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_one_position_after_another_equals_all_at_once(kind: str) -> None:
    layer, x = layer_of(kind), torch.randn(B, 9, E)
    h, outputs = torch.zeros(1, B, H), []
    for now in x.split(1, dim=1):
        y, h = layer(now, h)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, dim=1), layer(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_of_any_length_are_read_both_ways(kind: str) -> None:
    layer = layer_of(kind, bidirectional=True)
    rows = [torch.randn(length, E, requires_grad=True) for length in (4, CHUNK + 9, 1, 17)]
    y, final = layer(pack_sequence(rows, enforce_sorted=False))
    outputs, lengths = pad_packed_sequence(y, batch_first=True)
    for index, row in enumerate(rows):
        forwards = by_hand(layer, row[None])[0]
        backwards = by_hand(layer, row.flip(0)[None], way=1)[0]
        expected = torch.cat((forwards, backwards.flip(0)), dim=1)
        torch.testing.assert_close(outputs[index, : lengths[index]], expected, rtol=1e-5, atol=1e-5)
        ends = torch.stack((forwards[-1], backwards[-1]))
        torch.testing.assert_close(final[:, index], ends, rtol=1e-5, atol=1e-5)
        (theirs,) = torch.autograd.grad(expected.sum(), row)
        (ours,) = torch.autograd.grad(outputs[index, : len(row)].sum(), row, retain_graph=True)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_gates_that_are_shut_or_open_stay_finite() -> None:
    keep = torch.tensor([-200.0, -1e-30, -200.0, 0.0]).view(1, 4, 1).requires_grad_()
    write = torch.tensor([-1e-30, -200.0, 0.0, -200.0]).view(1, 4, 1).requires_grad_()
    states = scan(keep, write, torch.ones(1, 1))
    torch.testing.assert_close(states.flatten(), torch.ones(4))
    assert all(g.isfinite().all() for g in gradients(states, keep, write))


def test_positive_numbers_and_their_logarithms_agree() -> None:
    x = torch.linspace(-60, 60, 401, dtype=torch.double, requires_grad=True)
    expected = torch.where(x < 0, torch.sigmoid(x), x + 0.5)
    torch.testing.assert_close(positive(x), expected)
    torch.testing.assert_close(log_positive(x), expected.log())
    assert all(g.isfinite().all() for g in gradients(log_positive(x), x))


@pytest.mark.parametrize("kind", KINDS)
def test_initial_weights_have_their_scale(kind: str) -> None:
    config = RecurrentConfig(rnn_type=kind, embedding_size=100, hidden_size_per_direction=64)
    model = RecurrentForCausalLM(config)
    for part in model.recurrent.layers[0].rnn.gates:
        assert 0.9 / 8 < part.weight.abs().max() <= 1 / 8
        gates = part.bias.view(-1, 64)
        assert not gates[1:].any()
        assert (gates[0] == (1 if kind == "min_lstm" else 0)).all()
    assert model.lm_head.weight.std().item() == pytest.approx(1 / 16, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cpu_reads_in_a_loop(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScannedLayer, "parallel", None)
    layer, x = layer_of(kind), torch.randn(B, 9, E)
    monkeypatch.setattr(scan_recurrent, "scan", None)
    torch.testing.assert_close(layer(x)[0], by_hand(layer, x))
    with pytest.raises(TypeError, match="not callable"):
        layer.to("meta")(x.to("meta"))
