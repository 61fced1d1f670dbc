"""The loss without logits, against torch's own losses, chunk by chunk."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from model_foundry.architectures.kernels import chunked_cross_entropy, onednn_linear
from model_foundry.architectures.kernels.chunked_cross_entropy import vocabulary_loss
from model_foundry.architectures.kernels.onednn_linear import use_onednn_linear

N, H, V = 23, 6, 37
needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]


@pytest.fixture(autouse=True, params=[1, 7, N])
def _rows_of_a_chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_cross_entropy, "PLAIN_BYTES", 0)
    monkeypatch.setattr(chunked_cross_entropy, "CHUNK_BYTES", request.param * V * 4)


def make(
    *, bias: bool = True, labels: str = "some", dtype: torch.dtype = torch.float32
) -> tuple[Tensor, nn.Linear, Tensor]:
    """Return features, head and targets, of which all, some or none are labelled."""
    features = torch.randn(N, H, dtype=dtype, requires_grad=True)
    head = nn.Linear(H, V, bias=bias, dtype=dtype)
    targets = torch.randint(V, (N,))
    if labels != "all":
        targets[::3] = -100
    if labels == "none":
        targets[:] = -100
    return features, head, targets


def plain(features: Tensor, head: nn.Linear, targets: Tensor) -> Tensor:
    return F.cross_entropy(head(features), targets, reduction="sum")


def with_gradients(loss: Tensor, features: Tensor, head: nn.Linear) -> list[Tensor]:
    gradients = torch.autograd.grad(loss / 3, [features, *head.parameters()])
    return [loss.detach(), *gradients]


def cut(number: int) -> list[range]:
    return [range(number)[part] for part in chunked_cross_entropy._chunks(number, V * 4)]


@pytest.mark.parametrize("by_onednn", [False, True])
@pytest.mark.parametrize("labels", ["all", "some", "none"])
@pytest.mark.parametrize("bias", [False, True])
def test_loss_and_gradients_are_those_of_cross_entropy(
    bias: bool, labels: str, by_onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, head, targets = make(bias=bias, labels=labels)
    expected = with_gradients(plain(features, head, targets), features, head)
    calls: list[int] = []
    if by_onednn:
        original = onednn_linear.linear
        monkeypatch.setattr(onednn_linear, "linear", lambda *a: calls.append(1) or original(*a))
        use_onednn_linear(nn.Sequential(head))
    found = with_gradients(vocabulary_loss(features, head, targets), features, head)
    assert len(calls) == (3 * len(cut(N)) if by_onednn else 0)
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="torch is older than 2.13")
def test_loss_and_gradients_are_those_of_the_chunked_loss_of_torch() -> None:
    features, head, targets = make()
    theirs = F.linear_cross_entropy(
        features, head.weight, targets, linear_bias=head.bias, reduction="sum"
    )
    expected = with_gradients(theirs, features, head)
    found = with_gradients(vocabulary_loss(features, head, targets), features, head)
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6)


def test_doubles_stay_doubles() -> None:
    features, head, targets = make(dtype=torch.float64)
    expected = with_gradients(plain(features, head, targets), features, head)
    found = with_gradients(vocabulary_loss(features, head, targets), features, head)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_products_are_short_and_sums_are_not(
    dtype: torch.dtype, device: str
) -> None:
    features, head, targets = (part.to(device) for part in make())
    features = features.detach().requires_grad_()
    expected = with_gradients(plain(features, head, targets), features, head)
    with torch.autocast(device, dtype=dtype):
        loss = vocabulary_loss(features, head, targets)
    found = with_gradients(loss, features, head)
    assert [part.dtype for part in found] == [torch.float32] * 4
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    assert not torch.equal(found[2], expected[2])


def test_a_model_of_short_numbers_gets_gradients_of_its_own_kind() -> None:
    features, head, targets = make(dtype=torch.bfloat16)
    loss = vocabulary_loss(features, head, targets)
    assert loss.dtype == torch.float32
    gradients = with_gradients(loss, features, head)[1:]
    assert {gradient.dtype for gradient in gradients} == {torch.bfloat16}


@pytest.mark.parametrize("frozen", ["features", "weight", "bias"])
def test_what_is_frozen_gets_no_gradient(frozen: str) -> None:
    features, head, targets = make()
    leaves = {"features": features, "weight": head.weight, "bias": head.bias}
    leaves[frozen].requires_grad_(False)
    rest = [leaf for name, leaf in leaves.items() if name != frozen]
    expected = torch.autograd.grad(plain(features, head, targets), rest)
    vocabulary_loss(features, head, targets).backward()
    torch.testing.assert_close([leaf.grad for leaf in rest], list(expected))
    assert leaves[frozen].grad is None


def test_without_gradients_the_loss_is_the_same_and_none_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, head, targets = make()
    learning = vocabulary_loss(features, head, targets)
    monkeypatch.delattr(chunked_cross_entropy._Gradients, "add")
    with torch.no_grad():
        loss = vocabulary_loss(features, head, targets)
    assert loss.item() == learning.item()
    assert loss.grad_fn is None


def test_a_second_backward_pass_is_refused() -> None:
    features, head, targets = make()
    loss = vocabulary_loss(features, head, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_no_position_at_all_costs_nothing_and_has_a_graph() -> None:
    features, head, targets = make()
    loss = vocabulary_loss(features[:0], head, targets[:0])
    loss.backward()
    assert loss.item() == 0
    assert not head.weight.grad.any()
    assert features.grad.shape == (N, H)


class Sizes(TorchDispatchMode):
    """Records how large each tensor is that an operator returns."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        self.seen += [part.numel() for part in outputs_of(out)]
        return out


def outputs_of(out: object) -> Iterator[Tensor]:
    if isinstance(out, Tensor):
        yield out
    elif isinstance(out, list | tuple):
        for part in out:
            yield from outputs_of(part)


def test_no_tensor_is_larger_than_a_chunk_of_logits_or_the_weights() -> None:
    features, head, targets = make()
    with Sizes() as sizes:
        vocabulary_loss(features, head, targets).backward()
    rows = max(map(len, cut(N)))
    assert max(sizes.seen) == max(rows * V, H * V)
    with Sizes() as sizes:
        plain(features, head, targets).backward()
    assert max(sizes.seen) == N * V


def test_chunks_are_equal_cover_all_and_keep_to_their_size() -> None:
    parts = cut(N)
    assert [i for part in parts for i in part] == list(range(N))
    sizes = {len(part) for part in parts[:-1]}
    assert len(sizes) <= 1
    assert all(len(part) * V * 4 <= chunked_cross_entropy.CHUNK_BYTES for part in parts)


def test_few_logits_take_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_cross_entropy, "PLAIN_BYTES", N * V * 4)
    features, head, targets = make()
    loss = vocabulary_loss(features, head, targets)
    assert "SummedLoss" not in type(loss.grad_fn).__name__
    torch.testing.assert_close(loss, plain(features, head, targets))
    monkeypatch.setattr(chunked_cross_entropy, "PLAIN_BYTES", N * V * 4 - 1)
    assert "SummedLoss" in type(vocabulary_loss(features, head, targets).grad_fn).__name__


def test_a_label_that_is_none_is_refused() -> None:
    features, head, targets = make()
    targets[1] = -1
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        vocabulary_loss(features, head, targets)


def test_a_head_that_does_more_than_multiply_is_called() -> None:
    features, head, targets = make()
    hook = head.register_forward_hook(lambda module, inputs, logits: logits * 2)
    doubled = vocabulary_loss(features, head, targets)
    torch.testing.assert_close(doubled, plain(features, head, targets))
    hook.remove()
    assert vocabulary_loss(features, head, targets) != doubled

    class Doubling(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * 2

    head.__class__ = Doubling
    torch.testing.assert_close(vocabulary_loss(features, head, targets), doubled)
