"""Figures of each row of logits, of which only a chunk is ever held in single precision.

Letters of shapes: M rows, N of them with a target, n of a chunk, C classes.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from model_foundry.architectures.kernels.chunked_cross_entropy import CHUNK_BYTES

RowTerm = Callable[[Tensor, Tensor], Tensor]
"""A figure of each row, (n,), given logits (n, C) in fp32 or fp64 and targets (n,)."""


def sum_over_targets(term: RowTerm, logits: Tensor, targets: Tensor, scored: Tensor) -> Tensor:
    """Return the sum of a figure over the rows with a target, a scalar with a graph.

    Args:
        logits: (..., C).
        targets: (...).
        scored: (...) True at the rows with a target.
    """
    rows = scored.flatten().nonzero().squeeze(1)
    values = _Figures.apply(logits.flatten(0, -2), targets.flatten(), rows, term)  # type: ignore[no-untyped-call]
    return cast(Tensor, values).sum()


def chunks(rows: Tensor, logits: Tensor) -> Iterator[tuple[Tensor, slice]]:
    """Yield the rows by chunks of logits of `CHUNK_BYTES` in fp32, and the place of each.

    Args:
        rows: (N,) numbers of rows.
        logits: (M, C).
    """
    size = max(1, CHUNK_BYTES // (4 * logits.shape[-1]))
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size], slice(begin, begin + size)


class _Figures(Function):
    """A figure of some rows of logits (M, C), (N,) in fp32 or fp64, computed again backwards."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, rows: Tensor, term: RowTerm) -> Tensor:
        exact = torch.promote_types(logits.dtype, torch.float32)
        figures = torch.empty(len(rows), dtype=exact, device=logits.device)
        for chunk, place in chunks(rows, logits):
            figures[place] = term(logits[chunk].to(exact), targets[chunk])
        ctx.save_for_backward(logits, targets, rows)
        ctx.term, ctx.exact = term, exact
        return figures

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor, None, None, None]:
        logits, targets, rows = ctx.saved_tensors
        found = torch.zeros_like(logits)
        for chunk, place in chunks(rows, logits):
            with torch.enable_grad():
                part = logits[chunk].to(ctx.exact).detach().requires_grad_()
                figures = ctx.term(part, targets[chunk])
            (gradient,) = torch.autograd.grad(figures, part, gradients[place])
            found[chunk] = gradient.to(found)
        return found, None, None, None
