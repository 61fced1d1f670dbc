"""The layers minGRU and minLSTM, whose gates see the input alone (Feng et al. 2024).

Source: "Were RNNs All We Needed?", arXiv:2410.01201, in the form of its appendix B, with states
above 0. Without a product with the state, all positions are read at once by a scan in log space,
and a single position is one step. On a CPU a loop reads them, which is faster there than logarithms
and as exact as steps. The paper leaves open what surrounds a layer: layers are stacked as all
recurrent layers here, with neither residuals nor norms nor expansion. A fresh state is 0.

Letters of shapes: B rows, T positions, N tokens without padding, E width of the input, H hidden
size, D directions, G rows of a weight (2H or 3H).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

CHUNK = 32
"""Positions of one sum of logarithms: longer ones lose the digits of their parts."""

SHUT = 1e4
"""The logit of a gate that keeps all: infinity would make gradients that are not numbers."""


def positive(x: Tensor) -> Tensor:
    """Map x to numbers above 0: g of the paper, x + 1/2 above 0 and the sigmoid below."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


def log_positive(x: Tensor) -> Tensor:
    """Return the logarithm of `positive(x)`, which loses no digits below 0."""
    return torch.where(x >= 0, (F.relu(x) + 0.5).log(), F.logsigmoid(x))


def scan(log_keep: Tensor, log_write: Tensor, h: Tensor | None = None) -> Tensor:
    """Return all states of h[t] = keep[t] h[t - 1] + write[t], (B, T, H).

    After Heinsen (2023, arXiv:2311.06281): with K the sums of log keep, log h is K plus the
    logarithm of the sums of write / exp K. All chunks are read at once, each from 0; then each gets
    what it keeps of the state before it.

    Args:
        log_keep: logarithms of the shares that are kept, (B, T, H).
        log_write: logarithms of what is added, (B, T, H).
        h: the state before, (B, H); None: 0.
    """
    length = log_keep.shape[1]
    size = min(length, CHUNK)
    rest = (0, 0, 0, -length % size)
    keep, write = (F.pad(x, rest).unflatten(1, (-1, size)) for x in (log_keep, log_write))
    kept = keep.cumsum(2)  # (B, chunks, size, H)
    states = (kept + (write - kept).logcumsumexp(2)).exp()
    kept = kept.exp()
    before = [torch.zeros_like(kept[:, 0, 0]) if h is None else h]
    for share, last in zip(kept[:, :-1, -1].unbind(1), states[:, :-1, -1].unbind(1), strict=True):
        before.append(torch.addcmul(last, share, before[-1]))
    states = torch.addcmul(states, kept, torch.stack(before, dim=1)[:, :, None])
    return states.flatten(1, 2)[:, :length]


class Recurrence(Function):
    """h[t] = keep[t] h[t - 1] + write[t] in a loop, for keep, write (B, T, H) and h (B, H)."""

    @staticmethod
    def forward(ctx, keep, write, h):
        """Compute the states (B, T, H), from the first to the last."""
        states = write.clone()
        before = h
        for share, state in zip(keep.unbind(1), states.unbind(1), strict=True):
            before = state.addcmul_(share, before)
        ctx.save_for_backward(keep, states, h)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        """Compute the gradients of the states, from the last to the first."""
        keep, states, h = ctx.saved_tensors
        total = grad.clone()
        steps, shares = total.unbind(1), keep.unbind(1)
        for t in range(len(steps) - 2, -1, -1):
            steps[t].addcmul_(shares[t + 1], steps[t + 1])
        before = torch.cat((h[:, None], states[:, :-1]), dim=1)
        return total * before, total, steps[0] * shares[0]


@torch.compiler.disable
def loop(keep: Tensor, write: Tensor, h: Tensor | None = None):
    """Return what `scan` returns for the logarithms of `keep` and `write`, (B, T, H)."""
    return Recurrence.apply(keep, write, torch.zeros_like(write[:, 0]) if h is None else h)


class Gates(nn.Linear):
    """The gates and the candidate of a position in one direction, (..., E) to (..., G).

    Args:
        open_forget_gate: whether the first gate has an initial bias of 1, as in the LSTM.
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_parts: int, *, open_forget_gate: bool
    ):
        super().__init__(input_size, num_parts * hidden_size)
        self.hidden_size = hidden_size
        self.open_forget_gate = open_forget_gate

    def initial_bias(self) -> Tensor:
        """Return the initial values of the bias."""
        bias = torch.zeros_like(self.bias)
        bias[: self.hidden_size] = float(self.open_forget_gate)
        return bias


class ScannedLayer(nn.Module):
    """A recurrent layer h[t] = keep h[t - 1] + (1 - keep) candidate, called as torch's layers are.

    A subclass gives the shares that are kept. Gates and states are in fp32 at least.
    """

    parallel: bool | None = None
    """Read by `scan`; False: by `loop`; None: by `loop` on a CPU."""

    num_parts: int
    """Gates and candidate, whose rows follow each other in a weight."""
    open_forget_gate = False
    """Start with a bias of 1 in the first gate."""

    def __init__(
        self, input_size: int, hidden_size: int, *, batch_first: bool, bidirectional: bool
    ):
        super().__init__()
        assert batch_first, "torch's argument; there is no other layout here"
        self.hidden_size = hidden_size
        self.bidirectional = bidirectional
        self.gates = nn.ModuleList(
            Gates(input_size, hidden_size, self.num_parts, open_forget_gate=self.open_forget_gate)
            for _ in range(1 + bidirectional)
        )

    def keep_logits(self, *gates: Tensor) -> Tensor:
        """Return the logits of the shares of the state that are kept."""
        raise NotImplementedError

    def step(self, given: Tensor, h: Tensor) -> Tensor:
        """Return the state (..., H) after the one before, with the gates (..., G) of an input."""
        logits, candidate = self._parts(given)
        return torch.lerp(positive(candidate), h.to(logits.dtype), torch.sigmoid(logits))

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None):
        """Read x (B, T, E), or a packed sequence, from the states (D, B, H); None: from zeros.

        Returns:
            The output (B, T, DH), or a packed one, and the final states (D, B, H).
        """
        if isinstance(input, Tensor):
            return self._read(input, hx)
        x, lengths = pad_packed_sequence(input, batch_first=True)
        real = torch.arange(x.shape[1])[None] < lengths[:, None]
        y, final = self._read(x, hx, real.to(x.device))
        return pack_padded_sequence(y, lengths, batch_first=True, enforce_sorted=False), final

    def _read(self, x: Tensor, hx: Tensor | None, real: Tensor | None = None):
        ways = []
        for direction, linear in enumerate(self.gates):
            h = None if hx is None else hx[direction]
            given, mask = linear(x), real  # (B, T, G)
            if direction:
                given, mask = given.flip(1), None if real is None else real.flip(1)
            ways.append(self._states(given, h, mask))
        final = torch.stack([states[:, -1] for states in ways])  # a copy: see `functions_recurrent`
        ways[1:] = [states.flip(1) for states in ways[1:]]
        return torch.cat(ways, dim=-1).to(given.dtype), final

    def _states(self, given: Tensor, h: Tensor | None, real: Tensor | None) -> Tensor:
        """Return the states (B, T, H) with the gates (B, T, G); where not `real`, the last one."""
        if given.shape[1] == 1 and real is None and h is not None:
            return self.step(given, h[:, None])
        logits, candidate = self._parts(given)
        if real is not None:
            logits = logits.masked_fill(~real[..., None], SHUT)
        h = None if h is None else h.to(logits.dtype)
        if given.device.type != "cpu" if self.parallel is None else self.parallel:
            write = F.logsigmoid(-logits) + log_positive(candidate)
            return scan(F.logsigmoid(logits), write, h)
        keep = torch.sigmoid(logits)
        states: Tensor = loop(keep, (1 - keep) * positive(candidate), h)
        return states

    def _parts(self, given: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of `keep` and the candidate, before `positive`, (..., H) each."""
        given = given.to(torch.promote_types(given.dtype, torch.float32))
        *gates, candidate = given.chunk(self.num_parts, dim=-1)
        return self.keep_logits(*gates), candidate


class MinGRU(ScannedLayer):
    """The minGRU: a gate z writes a share of the candidate, and the rest of the state is kept."""

    num_parts = 2

    def keep_logits(self, *gates: Tensor) -> Tensor:
        """Return the logits of 1 - z."""
        (z,) = gates
        return -z


class MinLSTM(ScannedLayer):
    """The minLSTM: the shares of a forget and an input gate in their sum; it has no cell state."""

    num_parts = 3
    open_forget_gate = True

    def keep_logits(self, *gates: Tensor) -> Tensor:
        """Return the logits of f / (f + i), which are log f - log i."""
        f, i = gates
        return F.logsigmoid(f) - F.logsigmoid(i)
