"""The parts of a recurrent model: one layer, the state it carries, and what keeps padding out.

Letters of shapes: B rows, T positions, N tokens without padding, E width of the input, H hidden
size, D directions.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence
from transformers.cache_utils import Cache, CacheLayerMixin

from .configuration_recurrent import RecurrentConfig
from .functions_recurrent import FusedGRU, FusedRNN

CELLS = {"rnn": FusedRNN, "gru": FusedGRU, "lstm": nn.LSTM}


class LayerState(CacheLayerMixin):
    """State of one layer after the tokens read so far.

    It lies in the fields of an attention cache, batch first, so that beam search can reorder it:
    `keys` is the hidden state (B, H), `values` the cell state of an LSTM (B, H), else (B, 0).
    """

    def __init__(self):
        super().__init__()
        self.cumulative_length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, num_tokens: int = 1, **kwargs):
        """Replace the state by the one after `num_tokens` more positions."""
        self.lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states, value_states
        self.cumulative_length += num_tokens
        return key_states, value_states

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cumulative_length + query_length, 0

    def get_seq_length(self) -> int:
        return self.cumulative_length

    def get_max_length(self) -> int:
        return -1


class RecurrentCache(Cache):
    """States of all layers. `generate()` hands it on; give it back to go on where a text ended."""

    def __init__(self, num_layers: int):
        super().__init__(layers=[LayerState() for _ in range(num_layers)])


class Sequences:
    """The sequences that the tokens of a batch make up, packed, each read from a state of its own.

    Padding, on whichever side or between, is left out, so that it advances no state.

    Args:
        real: which positions are no padding, (B, T) bool.
        document_ids: (B, T), the same within a sequence; None: each row is a sequence.
    """

    def __init__(self, real: Tensor, document_ids: Tensor | None = None):
        self.shape = real.shape
        # A row of padding alone is read as one token: packing knows no empty rows.
        real = torch.cat((real[:, :1] | ~real.any(1, keepdim=True), real[:, 1:]), dim=1)
        where = real.flatten().nonzero().squeeze(1)  # (N,) in the batch read as one row
        rows = where // real.shape[1]
        new = rows[1:] != rows[:-1]  # (N - 1,) whether a token begins another sequence
        if document_ids is not None:
            ids = document_ids[real]
            new |= ids[1:] != ids[:-1]
        begins = new.nonzero().squeeze(1).cpu() + 1
        self.where = pack_sequence(list(where.tensor_split(begins)), enforce_sorted=False)

    def pack(self, x: Tensor) -> Tensor:
        """Return the tokens of x (B, T, E) as they lie in a packed sequence, (N, E)."""
        return x.flatten(0, 1).index_select(0, self.where.data)

    def restore(self, x: Tensor) -> Tensor:
        """Put packed tokens (N, H) where they belong in (B, T, H), with zeros at padding."""
        everywhere = x.new_zeros(self.shape.numel(), x.shape[1])
        return everywhere.index_copy(0, self.where.data, x).view(*self.shape, -1)


def runnable_precision(device_type: str):
    """Return a context that keeps autocast off where torch would fail under it.

    On CPUs without AVX-512, oneDNN has no bf16 LSTM. torch 2.13 picks it all the same and raises;
    where torch uses its own kernels, bf16 is emulated there, ten times slower than fp32.
    """
    if device_type != "cpu" or not torch.backends.mkldnn.is_available():
        return nullcontext()
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return nullcontext() if supported else torch.autocast("cpu", enabled=False)


class RecurrentLayer(nn.Module):
    """One recurrent layer over whole sequences, in one or both directions."""

    def __init__(self, config: RecurrentConfig, input_size: int):
        super().__init__()
        self.has_cell_state = config.rnn_type == "lstm"
        self.rnn = CELLS[config.rnn_type](
            input_size, config.hidden_size, batch_first=True, bidirectional=config.bidirectional
        )

    def forward(self, x: Tensor, sequences: Sequences | None = None, *state: Tensor):
        """Read x (B, T, E), or what `sequences` has packed, (N, E).

        `state` is none at all, or h and c, both (B, H); c is (B, 0) but for an LSTM. The output
        (B, T, DH) or (N, DH) comes back with the final h and c.
        """
        initial = self._to_torch(x, *state) if state else None
        with runnable_precision(x.device.type):
            if sequences is None:
                y, final = self.rnn(x, initial)
            else:
                y, final = self.rnn(sequences.where._replace(data=x), initial)
                y = y.data
        h, c = final if self.has_cell_state else (final, final[..., :0])
        return y, h[-1], c[-1]

    def _to_torch(self, x: Tensor, h: Tensor, c: Tensor):
        # A state that was made under autocast may have another precision than x.
        h, c = (s.to(x.dtype)[None].contiguous() for s in (h, c))  # (1, B, H)
        return (h, c) if self.has_cell_state else h
