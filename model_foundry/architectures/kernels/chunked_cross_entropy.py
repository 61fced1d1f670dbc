"""Cross-entropy of features projected onto the vocabulary, without keeping the logits.

The gradients are computed in the forward pass, one chunk of logits at a time, as in Liger (Hsu et
al. 2024, arXiv:2410.10989). torch's `linear_cross_entropy` saves the same memory, but took 1.5 to 5
times as long as the plain loss on the CPU where both were measured.

Letters of shapes: N positions, n positions of a chunk, H features, V vocabulary.
"""

from collections.abc import Iterator
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from model_foundry.architectures.kernels import onednn_linear
from model_foundry.foundation.labels import IGNORE_INDEX

CHUNK_BYTES: Final = 64 * 2**20
"""Maximum size of a chunk of logits; with a few MiB the products are slower."""
PLAIN_BYTES: Final = 4 * 2**20
"""Logits up to this size are kept: the plain loss is then faster."""


def vocabulary_loss(features: Tensor, head: nn.Linear, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy of `head(features)` in nats, a scalar in fp32 or fp64.

    It supports one backward pass.

    Args:
        features: (N, H), in any float type; under autocast the products are in its type.
        head: maps onto the vocabulary, with or without bias.
        targets: (N,); `IGNORE_INDEX` is not predicted.
    """
    device, dtype = features.device.type, features.dtype
    if torch.is_autocast_enabled(device) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
    exact = torch.promote_types(dtype, torch.float32)
    small = len(features) * head.out_features * exact.itemsize <= PLAIN_BYTES
    if small or not _is_a_bare_matrix(head):
        logits = head(features).to(exact)
        return F.cross_entropy(logits, targets, ignore_index=IGNORE_INDEX, reduction="sum")
    by_onednn = isinstance(head, onednn_linear.OneDnnLinear) and onednn_linear.is_supported(
        features, head.weight
    )
    learns = torch.is_grad_enabled()
    with torch.autocast(device, enabled=False):
        loss = _SummedLoss.apply(  # type: ignore[no-untyped-call]
            features, head.weight, head.bias, targets, dtype, by_onednn, learns
        )
    return cast(Tensor, loss)


def _is_a_bare_matrix(head: nn.Linear) -> bool:
    """Return True if `head` is a plain linear layer without hooks."""
    known = type(head).forward in (nn.Linear.forward, onednn_linear.OneDnnLinear.forward)
    return known and not (head._forward_hooks or head._forward_pre_hooks)


def _chunks(number: int, row_bytes: int) -> Iterator[slice]:
    """Divide `number` rows into as few equal parts as `CHUNK_BYTES` allows."""
    parts = max(1, -(-number * row_bytes // CHUNK_BYTES))
    size = -(-number // parts)
    return (slice(begin, begin + size) for begin in range(0, number, size))


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None, *, by_onednn: bool) -> Tensor:
    """Return a (I, J) times b (J, K), plus bias (K,)."""
    if by_onednn:
        return onednn_linear.linear(a, b.t(), bias)
    return a @ b if bias is None else torch.addmm(bias, a, b)


class _Gradients:
    """The gradients of features x (N, H), weight w (V, H) and bias (V,); None: not needed."""

    def __init__(self, x: Tensor, w: Tensor, wanted: list[bool], *, by_onednn: bool) -> None:
        self._x, self._w, self._by_onednn = x, w, by_onednn
        self._for_w, self._for_bias = wanted[1:]
        self.of_x = torch.empty_like(x) if wanted[0] else None
        self.of_w: Tensor | None = None
        self.of_bias: Tensor | None = None

    def add(self, slopes: Tensor, here: slice, counts: Tensor) -> None:
        """Add a chunk, given the gradients of its logits, (n, V).

        Args:
            counts: (N,), 0 without a label; applied to tensors with H columns, not V.
        """
        counts = counts[here, None]  # (n, 1)
        if self._for_bias:
            self.of_bias = _plus(self.of_bias, slopes.t() @ counts.to(slopes.dtype)[:, 0])
        slopes = slopes.to(self._x.dtype)
        if self.of_x is not None:
            product = _product(slopes, self._w, by_onednn=self._by_onednn)
            torch.mul(product, counts, out=self.of_x[here])
        if self._for_w:
            self.of_w = _plus(self.of_w, self._outer(slopes.t(), self._x[here] * counts))

    def _outer(self, slopes: Tensor, x: Tensor) -> Tensor:
        """Return slopes (V, n) times x (n, H), in fp32 or fp64."""
        if x.is_cuda and x.dtype != torch.float32:
            # no rounding in between; in fp16 the sum over many rows could overflow
            return torch.mm(slopes, x, out_dtype=torch.float32)
        product = _product(slopes, x, by_onednn=self._by_onednn)
        return product.to(torch.promote_types(x.dtype, torch.float32))


def _plus(total: Tensor | None, more: Tensor) -> Tensor:
    return more if total is None else total.add_(more)


class _SummedLoss(torch.autograd.Function):
    """The sum over all positions; its gradients come from the same logits."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        dtype: torch.dtype,
        by_onednn: bool,
        learns: bool,
    ) -> Tensor:
        wanted = [learns and needed for needed in ctx.needs_input_grad[:3]]
        exact = torch.promote_types(dtype, torch.float32)
        x, w, b = features.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        counts = (targets != IGNORE_INDEX).to(dtype)  # (N,)
        # any other negative label fails in the lookup
        labels = targets.masked_fill(targets == IGNORE_INDEX, 0)[:, None]  # (N, 1)
        total = torch.zeros((), dtype=exact, device=x.device)
        gradients = _Gradients(x, w, wanted, by_onednn=by_onednn)
        for here in _chunks(len(x), len(w) * exact.itemsize):
            logits = _product(x[here], w.t(), b, by_onednn=by_onednn)  # (n, V)
            in_place = logits if dtype == exact else None
            scores = torch.log_softmax(logits, 1, dtype=exact, out=in_place)
            total -= scores.gather(1, labels[here])[:, 0] @ counts[here].to(exact)
            if any(wanted):
                # the probabilities, less one at the label
                minus_one = scores.new_full((len(scores), 1), -1)
                slopes = scores.exp_().scatter_add_(1, labels[here], minus_one)
                gradients.add(slopes, here, counts)
        ctx.save_for_backward(gradients.of_x, gradients.of_w, gradients.of_bias)
        ctx.dtypes = [None if t is None else t.dtype for t in (features, weight, bias)]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # In place, to save memory; torch refuses a second pass, since they have changed.
        scaled = [
            None if gradient is None else gradient.mul_(grad).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*scaled, None, None, None, None)
