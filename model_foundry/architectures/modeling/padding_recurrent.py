"""Batches with padding: packed sequences, or single steps if a model is exported.

Padding, on either side or between tokens, is left out, so that it advances no state.

Letters of shapes: B rows, T positions, N tokens without padding, E width of the input, H hidden
size, D directions, G rows of a weight (H to 4H).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from .configuration_recurrent import RecurrentConfig
from .scan_recurrent import ScannedLayer


def is_exported() -> bool:
    """Return True while `torch.export` (and so the ONNX exporter) traces the model."""
    exporting = getattr(torch.compiler, "is_exporting", None)  # since torch 2.7
    return exporting is not None and exporting()


class Sequences:
    """The packed sequences of a batch, each read from a fresh state.

    Args:
        real: (B, T) bool, False at padding.
        document_ids: (B, T), the same within a sequence; None: each row is a sequence.
    """

    def __init__(self, real: Tensor, document_ids: Tensor | None = None):
        self.shape = real.shape
        # A row of padding alone is read as one token: packing knows no empty rows.
        real = torch.cat((real[:, :1] | ~real.any(1, keepdim=True), real[:, 1:]), dim=1)
        where = real.flatten().nonzero().squeeze(1)  # (N,) in the batch read as one row
        rows = where // real.shape[1]
        new = rows[1:] != rows[:-1]  # (N - 1,) True where another sequence begins
        if document_ids is not None:
            ids = document_ids[real]
            new |= ids[1:] != ids[:-1]
        begins = new.nonzero().squeeze(1).cpu() + 1
        self.where = pack_sequence(list(where.tensor_split(begins)), enforce_sorted=False)

    def pack(self, x: Tensor) -> Tensor:
        """Return the tokens of x (B, T, E) in the order of a packed sequence, (N, E)."""
        return x.flatten(0, 1).index_select(0, self.where.data)

    def restore(self, x: Tensor) -> Tensor:
        """Return packed tokens (N, H) at their positions in (B, T, H), with zeros at padding."""
        everywhere = x.new_zeros(self.shape.numel(), x.shape[1])
        return everywhere.index_copy(0, self.where.data, x).view(*self.shape, -1)

    def read(self, rnn: nn.RNNBase | ScannedLayer, x: Tensor, initial):
        """Return the output (N, DH) of one layer and its final states."""
        y, final = rnn(self.where._replace(data=x), initial)
        return y.data, final


class Steps:
    """A batch that is read step by step, by operations that `torch.export` keeps for any length.

    A layer of torch would be exported for the length that the exporter saw, and packing depends on
    the mask.

    Args:
        real: (B, T) bool, False at padding; None: there is none.
    """

    def __init__(self, real: Tensor | None):
        self.real = real

    def pack(self, x: Tensor) -> Tensor:
        """Return x unchanged: padding is skipped in each step."""
        return x

    def restore(self, x: Tensor) -> Tensor:
        """Return x unchanged."""
        return x

    def read(self, rnn: nn.RNNBase | ScannedLayer, x: Tensor, initial):
        """Return the output (B, T, DH) of one layer and its final states, (D, B, H)."""
        gated = isinstance(rnn, nn.LSTM)
        outputs, finals = [], []
        for direction in range(1 + rnn.bidirectional):
            start = initial
            if initial is not None:
                start = tuple(s[direction] for s in initial) if gated else initial[direction]
            y, final = self._read_one_way(rnn, x, direction, start)
            outputs.append(y)
            finals.append(final)
        if gated:
            final = tuple(torch.stack(states) for states in zip(*finals, strict=True))
        else:
            final = torch.stack(finals)
        return torch.cat(outputs, dim=-1), final

    def _read_one_way(self, rnn: nn.RNNBase | ScannedLayer, x: Tensor, direction: int, start):
        from torch._higher_order_ops.scan import scan  # only exporters need it

        inputs, step = _inputs_and_step(rnn, x.transpose(0, 1), direction)  # (T, B, G)
        real = inputs[..., :1] == inputs[..., :1] if self.real is None else self.real.t()[..., None]
        zeros = x.new_zeros(x.shape[0], rnn.hidden_size)
        if start is None:
            start = (zeros, zeros.clone()) if isinstance(rnn, nn.LSTM) else zeros

        def masked_step(state, now):
            given, counts = now
            after = step(given, state)
            kept = _where(counts, after, state)
            return kept, (kept[0] if isinstance(kept, tuple) else kept).clone()

        final, y = scan(masked_step, start, (inputs, real), reverse=direction == 1)
        return y.transpose(0, 1), final


def _where(counts: Tensor, after, before):
    """Return the state after a step at real tokens, counts (B, 1), else the one before."""
    if isinstance(after, tuple):
        return tuple(_where(counts, *pair) for pair in zip(after, before, strict=True))
    return torch.where(counts, after, before)


def _elman_step(given: Tensor, h: Tensor, weight: Tensor, bias: Tensor):
    return torch.tanh(given + F.linear(h, weight, bias))


def _gru_step(given: Tensor, h: Tensor, weight: Tensor, bias: Tensor):
    r, z, n = given.chunk(3, -1)
    for_r, for_z, for_n = F.linear(h, weight, bias).chunk(3, -1)
    candidate = torch.tanh(n + torch.sigmoid(r + for_r) * for_n)
    return candidate + torch.sigmoid(z + for_z) * (h - candidate)


def _lstm_step(given: Tensor, state: tuple[Tensor, Tensor], weight: Tensor, bias: Tensor):
    h, c = state
    i, f, g, o = (given + F.linear(h, weight, bias)).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


STEPS = {"RNN_TANH": _elman_step, "GRU": _gru_step, "LSTM": _lstm_step}


def _inputs_and_step(rnn: nn.RNNBase | ScannedLayer, x: Tensor, direction: int):
    """Return what a layer makes of all inputs x (T, B, E), and its step from state to state."""
    if isinstance(rnn, ScannedLayer):
        return rnn.gates[direction](x), rnn.step
    suffix = ("_l0", "_l0_reverse")[direction]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    input_weight, weight, input_bias, bias = (getattr(rnn, n + suffix) for n in names)
    step: Callable = STEPS[rnn.mode]  # type: ignore[assignment]
    return F.linear(x, input_weight, input_bias), lambda given, h: step(given, h, weight, bias)


def sequences_of(shape: torch.Size, attention_mask, document_ids, state):
    """Return the sequences or steps of rows (B, T); None: the rows are read whole."""
    real = None if attention_mask is None else attention_mask[:, -shape[1] :] != 0
    if is_exported():
        if document_ids is not None:
            raise ValueError("`document_ids` cannot be exported; leave them out.")
        return Steps(real)
    if document_ids is None:
        return None if real is None or shape[1] == 1 else Sequences(real)
    if state is not None:
        raise ValueError("`document_ids` go with no state: each document has a fresh one.")
    inside = document_ids >= 0
    return Sequences(inside if real is None else inside & real, document_ids)


def final_outputs(y: Tensor, attention_mask: Tensor | None, config: RecurrentConfig) -> Tensor:
    """Return the outputs (B, DH) at the last token; of a reverse direction, at the first.

    Args:
        y: (B, T, DH).
        attention_mask: (B, T), 0 for padding on either side; None: no padding.
    """
    size = config.hidden_size_per_direction
    if attention_mask is None:
        last, first = y[:, -1], y[:, 0]
    else:
        rows = torch.arange(y.shape[0], device=y.device)
        positions = torch.arange(y.shape[1], device=y.device)
        real = attention_mask != 0
        last = y[rows, (positions * real).amax(1)]
        first = y[rows, positions[-1] - (positions.flip(0) * real).amax(1)]
    return torch.cat((last[:, :size], first[:, size:]), dim=1) if config.bidirectional else last
