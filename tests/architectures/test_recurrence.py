"""The hand-written Elman and GRU layers against torch's own, and where they are used."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_foundry.architectures import create_model_from_config
from model_foundry.architectures.modeling import functions_recurrent
from model_foundry.architectures.modeling.configuration_recurrent import RecurrentConfig
from model_foundry.architectures.modeling.functions_recurrent import (
    FusedGRU,
    FusedRNN,
    WholeSequences,
)
from model_foundry.architectures.modeling.modeling_recurrent import (
    RecurrentForCausalLM,
    RecurrentForMaskedLM,
)
from tests.experiments import tiny_experiment

B, T, E, H = 3, 7, 6, 5
KINDS = {"gru": (FusedGRU, nn.GRU), "rnn": (FusedRNN, nn.RNN)}


def layer_of(kind: str, *, bidirectional: bool = False, size: int = H) -> nn.RNNBase:
    """Return one of our layers."""
    torch.manual_seed(0)
    return KINDS[kind][0](E, size, batch_first=True, bidirectional=bidirectional)


def in_torch(kind: str, layer: nn.RNNBase) -> nn.RNNBase:
    """Return torch's layer with the weights of one of ours."""
    oracle = KINDS[kind][1](E, H, batch_first=True, bidirectional=layer.bidirectional)
    oracle.load_state_dict(layer.state_dict())
    return oracle


def outputs_and_gradients(rnn: nn.RNNBase, x: Tensor, h: Tensor | None = None) -> list[Tensor]:
    """Return output and final state, and the gradients of a function of both."""
    sources = [t.requires_grad_() for t in (x, h) if t is not None] + list(rnn.parameters())
    y, final = rnn(x, h)
    generator = torch.Generator().manual_seed(1)
    mixed = [(t * torch.randn(t.shape, generator=generator)).sum() for t in (y, final)]
    return [y, final, *torch.autograd.grad(sum(mixed), sources)]


@pytest.mark.parametrize("length", [1, 2, T])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_states_and_all_gradients_are_torchs(
    kind: str, bidirectional: bool, with_state: bool, length: int
) -> None:
    rnn = layer_of(kind, bidirectional=bidirectional)
    x = torch.randn(B, length, E)
    h = torch.randn(1 + bidirectional, B, H) if with_state else None
    ours = outputs_and_gradients(rnn, x, h)
    torch.testing.assert_close(ours, outputs_and_gradients(in_torch(kind, rnn), x, h))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_slopes(kind: str) -> None:
    rnn = layer_of(kind, size=3).double()
    names = [name for name, _ in rnn.named_parameters()]

    def read(x: Tensor, h: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        stand_in = copy.copy(rnn)
        stand_in._parameters = dict(zip(names, weights, strict=True))
        return stand_in(x, h)

    x, h = torch.randn(2, 3, E).double(), torch.randn(1, 2, 3).double()
    sources = [t.detach().requires_grad_() for t in (x, h, *rnn.parameters())]
    assert torch.autograd.gradcheck(read, sources)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_input_gives_the_same_bits(kind: str) -> None:
    rnn = layer_of(kind, size=33)
    x = torch.randn(B, T, E)
    first, second = (outputs_and_gradients(rnn, x) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_backward_pass_finds_what_the_first_did(kind: str) -> None:
    rnn = layer_of(kind)
    loss = rnn(torch.randn(B, T, E))[0].square().sum()
    first, second = (
        torch.autograd.grad(loss, rnn.parameters(), retain_graph=True) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_that_comes_in_stays_as_it_is(kind: str) -> None:
    rnn = layer_of(kind)
    y, _ = rnn(torch.randn(B, T, E))
    incoming = torch.ones(T, H, B).permute(2, 0, 1)  # as the states lie in memory
    torch.autograd.grad(y, rnn.parameters(), incoming)
    assert (incoming == 1).all()


def losses(kind: str, *, bidirectional: bool, fused: bool, monkeypatch) -> list[float]:
    """Train a small model for 100 steps."""
    monkeypatch.setattr(WholeSequences, "fused", fused)
    torch.manual_seed(0)
    cls = RecurrentForMaskedLM if bidirectional else RecurrentForCausalLM
    config = RecurrentConfig(rnn_type=kind, vocab_size=17, embedding_size=E, num_hidden_layers=2,
                             hidden_size_per_direction=16, bidirectional=bidirectional)  # fmt: skip
    model = cls(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    ids = torch.randint(0, 17, (4, 8))
    found = []
    for _ in range(100):
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


@pytest.mark.parametrize(("kind", "bidirectional"), [("gru", False), ("rnn", True)])
def test_a_hundred_steps_lose_what_they_lose_with_torchs_layers(
    kind: str, bidirectional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = (
        losses(kind, bidirectional=bidirectional, fused=fused, monkeypatch=monkeypatch)
        for fused in (True, False)
    )
    assert ours[-1] < 0.7 * ours[0]
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert ours != theirs  # two ways were taken


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the length of each call of a layer that does not use torch."""
    lengths: list[int] = []
    read = functions_recurrent._read

    def counted(layer: nn.RNNBase, x: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        lengths.append(x.shape[1])
        return read(layer, x, h)

    monkeypatch.setattr(functions_recurrent, "_read", counted)
    return lengths


@pytest.mark.parametrize("kind", KINDS)
def test_training_without_padding_takes_this_way_and_nothing_else_does(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = count_reads(monkeypatch)
    config = RecurrentConfig(rnn_type=kind, vocab_size=9, embedding_size=E,
                             hidden_size_per_direction=H, num_hidden_layers=2)  # fmt: skip
    model, ids = RecurrentForCausalLM(config), torch.randint(0, 9, (B, T))
    model(ids)
    assert lengths == [T, T]
    model(ids, attention_mask=torch.ones_like(ids))
    with torch.no_grad():
        model(ids)
    monkeypatch.setattr(WholeSequences, "fused", False)
    model(ids)
    assert lengths == [T, T]


@pytest.mark.parametrize("kind", KINDS)
def test_other_precisions_and_devices_are_torchs(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = count_reads(monkeypatch)
    x, rnn = torch.zeros(B, T, E), layer_of(kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rnn(x)
    copy.deepcopy(rnn).bfloat16()(x.bfloat16())
    rnn.to("meta")(x.to("meta"))
    assert lengths == []


@pytest.mark.parametrize(("rows", "size", "ours"), [(11, 129, 0), (12, 129, 1), (1, 128, 1)])
def test_large_states_of_few_rows_are_torchs(
    rows: int, size: int, ours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = count_reads(monkeypatch)
    layer_of("gru", size=size)(torch.zeros(rows, 2, E))
    assert len(lengths) == ours


@pytest.mark.parametrize("kind", KINDS)
def test_checkpointed_activations_change_no_gradient(kind: str) -> None:
    config = RecurrentConfig(rnn_type=kind, vocab_size=9, embedding_size=E,
                             hidden_size_per_direction=H, num_hidden_layers=2)  # fmt: skip
    model, ids = RecurrentForCausalLM(config), torch.randint(0, 9, (B, T))
    plain = torch.autograd.grad(model(ids, labels=ids).loss, model.parameters())
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    again = torch.autograd.grad(model(ids, labels=ids).loss, model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_a_compiled_layer_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = count_reads(monkeypatch)
    rnn, x = layer_of("gru"), torch.randn(B, T, E)
    assert torch.equal(torch.compile(rnn, backend="eager")(x)[0], rnn(x)[0])
    assert lengths == [T, T]


@pytest.mark.parametrize("fused", [True, False])
def test_the_setting_decides(fused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = count_reads(monkeypatch)
    setting = f"training.speed.fused_recurrence={fused}".lower()
    model = create_model_from_config(tiny_experiment("gru", tmp_path, setting))
    model(torch.zeros(2, T, dtype=torch.long))
    assert lengths == ([T, T] if fused else [])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0, T, E), (T, E)])
def test_no_rows_and_single_sequences_are_read_as_torch_reads_them(
    kind: str, shape: tuple[int, ...]
) -> None:
    rnn, x = layer_of(kind), torch.randn(shape)
    found, expected = rnn(x), in_torch(kind, rnn)(x)
    torch.testing.assert_close(found, expected)
