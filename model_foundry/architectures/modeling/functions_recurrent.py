"""Elman and GRU layers over whole sequences on a CPU, with a backward pass written by hand.

torch runs their steps one by one through autograd, and adds up a small product per step for the
gradient of the recurrent weights. Here a step is one product and a few operations in place, and
gradients of weights are one product for all steps. The LSTM is left to oneDNN, which is faster;
packed sequences are left to torch.

Letters of shapes: T positions, B rows, E width of the input, H hidden size, G = H or 3H. Steps work
on (T, G, B): products of a large matrix with a narrow one are faster than the other way round, and
each gate is contiguous.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# Each multiplies a gradient by the derivative of a nonlinearity, given its result.
_through_sigmoid = torch.ops.aten.sigmoid_backward.grad_input
_through_tanh = torch.ops.aten.tanh_backward.grad_input


def _project(rows: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> None:
    """Write rows (TB, E) times weight (G, E) plus bias (G,) to out (T, G, B)."""
    product = torch.addmm(bias, rows, weight.t())
    out.copy_(product.view(out.shape[0], out.shape[2], -1).transpose(1, 2))


def _columns(x: Tensor) -> Tensor:
    """Return x (T, G, B) as a matrix (G, TB)."""
    return x.transpose(0, 1).reshape(x.shape[1], -1)


def _states(h: Tensor, length: int) -> Tensor:
    """Return a buffer for the states of all steps, (T + 1, H, B), whose first is h (B, H)."""
    states = h.new_empty(length + 1, h.shape[1], h.shape[0])
    states[0] = h.t()
    return states


class ElmanSequence(Function):
    """h = tanh(W x + U h + b) for x (T, B, E), from h (B, H) to the states (T, H, B)."""

    @staticmethod
    def forward(ctx, x, h, input_weight, weight, input_bias, bias):
        """Compute the states, step by step."""
        rows = x.reshape(-1, x.shape[2])  # (TB, E)
        states = _states(h, x.shape[0])
        _project(rows, input_weight, input_bias + bias, out=states[1:])
        for before, after in pairwise(states.unbind()):
            after.addmm_(weight, before).tanh_()
        ctx.save_for_backward(rows, input_weight, weight, states)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        """Compute the gradients inside the tanh, from the last step to the first."""
        rows, input_weight, weight, states = ctx.saved_tensors
        inner = grad.clone(memory_format=torch.contiguous_format)  # (T, H, B)
        transposed = weight.t().contiguous()
        later = None
        for step, state in zip(reversed(inner.unbind()), reversed(states.unbind()), strict=False):
            if later is not None:
                step.addmm_(transposed, later)
            later = _through_tanh(step, state, grad_input=step)
        columns = _columns(inner)  # (H, TB)
        for_bias = columns.sum(1)
        return (
            (columns.t() @ input_weight).view(*grad.shape[::2], -1),
            (transposed @ inner[0]).t(),
            columns @ rows,
            columns @ _columns(states[:-1]).t(),
            for_bias,
            for_bias,
        )


class GatedSequence(Function):
    """The GRU as torch defines it, for x (T, B, E), from h (B, H) to the states (T, H, B).

    r, z = sigmoid(W x + U h + b), n = tanh(W x + b + r (U h + b')), h = n + z (h - n). Buffers hold
    four parts in the order U h + b', r, z, n: the first three take a product with h, the last three
    one with x, and both are contiguous.
    """

    @staticmethod
    def forward(ctx, x, h, input_weight, weight, input_bias, bias):
        """Compute gates, candidates and states, step by step."""
        size = h.shape[1]
        rows = x.reshape(-1, x.shape[2])  # (TB, E)
        states = _states(h, x.shape[0])
        parts = x.new_empty(x.shape[0], 4 * size, x.shape[1])
        parts[:, :size] = bias[2 * size :, None]
        gates_bias = torch.cat((input_bias[: 2 * size] + bias[: 2 * size], input_bias[2 * size :]))
        _project(rows, input_weight, gates_bias, out=parts[:, size:])
        weight = torch.cat((weight[2 * size :], weight[: 2 * size]))  # rows for U h + b', r, z
        into_products = parts[:, : 3 * size].unbind()
        gates = parts[:, size : 3 * size].unbind()
        recurrent, r, z, n = (part.unbind() for part in parts.chunk(4, dim=1))
        steps = states.unbind()
        for t, before in enumerate(steps[:-1]):
            into_products[t].addmm_(weight, before)
            gates[t].sigmoid_()
            n[t].addcmul_(r[t], recurrent[t]).tanh_()
            torch.lerp(n[t], before, z[t], out=steps[t + 1])
        ctx.save_for_backward(rows, input_weight, weight, parts, states)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        """Multiply the slopes of all parts by the gradient of the state, from the last step on."""
        rows, input_weight, weight, parts, states = ctx.saved_tensors
        length, size, batch = grad.shape
        inner = _slopes(parts, states[:-1])  # (T, 4H, B)
        total = grad.clone(memory_format=torch.contiguous_format)  # (T, H, B)
        transposed = weight.t().contiguous()
        keeps = parts[:, 2 * size : 3 * size].unbind()  # z: the share of a state that is kept
        slopes = inner.view(length, 4, size, batch).unbind()
        recurrent = inner[:, : 3 * size].unbind()
        steps = total.unbind()
        slopes[-1].mul_(steps[-1])
        for t in range(length - 2, -1, -1):
            steps[t].addcmul_(steps[t + 1], keeps[t + 1]).addmm_(transposed, recurrent[t + 1])
            slopes[t].mul_(steps[t])
        columns = _columns(inner)  # (4H, TB)
        for_weight = columns[: 3 * size] @ _columns(states[:-1]).t()
        for_bias = columns.sum(1)
        return (
            (columns[size:].t() @ input_weight).view(length, batch, -1),
            torch.addmm(steps[0] * keeps[0], transposed, recurrent[0]).t(),
            columns[size:] @ rows,
            torch.cat((for_weight[size:], for_weight[:size])),
            for_bias[size:],
            torch.cat((for_bias[size : 3 * size], for_bias[:size])),
        )


def _slopes(parts: Tensor, before: Tensor) -> Tensor:
    """Return the derivatives of a GRU's state by the input of each of its parts, (T, 4H, B).

    Args:
        parts: (T, 4H, B), from the forward pass.
        before: the state before each step, (T, H, B).
    """
    recurrent, r, z, n = parts.chunk(4, dim=1)
    slopes = torch.empty_like(parts)
    for_recurrent, for_r, for_z, for_n = slopes.chunk(4, dim=1)
    _through_sigmoid(torch.sub(before, n, out=for_z), z, grad_input=for_z)
    _through_tanh(torch.sub(z.new_ones(()), z, out=for_n), n, grad_input=for_n)
    torch.mul(for_n, r, out=for_recurrent)
    _through_sigmoid(torch.mul(for_n, recurrent, out=for_r), r, grad_input=for_r)
    return slopes


def _is_faster(x: Tensor, size: int) -> bool:
    """Return True if x (B, T, E) is read faster here than by torch, into states of H (`size`).

    That is so in full precision, on a CPU, and with gradients; without gradients torch does little
    more than its products. With fewer than 12 rows MKL is slow at them, in the layout of this file;
    up to H = 128 that matters less than torch's overhead.
    """
    return (
        x.device.type == "cpu"
        and x.dim() == 3
        and len(x) > 0
        and x.dtype in (torch.float32, torch.float64)
        and (len(x) >= 12 or size <= 128)
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


class WholeSequences:
    """Mixin that lets a layer of torch use a function of this file if that is faster."""

    function: type[Function]
    fused = True
    """False: always use torch's own way."""

    def forward(self, input, hx=None):
        """Compute the layer of torch, which is `batch_first` and not stacked."""
        whole = isinstance(input, Tensor)  # and no packed sequence
        if self.fused and whole and _is_faster(input, self.hidden_size):  # type: ignore[attr-defined]
            return _read(self, input, hx)
        return super().forward(input, hx)  # type: ignore[misc]


@torch.compiler.disable
def _read(layer, x: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
    """Read x (B, T, E) from the states h (D, B, H), D directions; None: from zeros.

    Returns:
        The output (B, T, DH) and the final states (D, B, H).
    """
    if h is None:
        h = x.new_zeros(1 + layer.bidirectional, len(x), layer.hidden_size)
    x = x.transpose(0, 1)  # (T, B, E)
    forwards = layer.function.apply(x, h[0], *_weights(layer, "_l0"))  # (T, H, B)
    if not layer.bidirectional:
        # A copy: a carried state must not keep all others in memory.
        final = forwards[-1:].transpose(1, 2).clone(memory_format=torch.contiguous_format)
        return forwards.permute(2, 0, 1), final
    backwards = layer.function.apply(x.flip(0), h[1], *_weights(layer, "_l0_reverse"))
    final = torch.stack((forwards[-1].t(), backwards[-1].t()))
    return torch.cat((forwards, backwards.flip(0)), dim=1).permute(2, 0, 1), final


def _weights(layer, suffix: str) -> list[Tensor]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return [getattr(layer, name + suffix) for name in names]


class FusedRNN(WholeSequences, nn.RNN):
    """An `nn.RNN` of one layer, faster over whole sequences."""

    function = ElmanSequence


class FusedGRU(WholeSequences, nn.GRU):
    """An `nn.GRU` of one layer, faster over whole sequences."""

    function = GatedSequence
