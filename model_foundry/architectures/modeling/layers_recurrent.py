"""The parts of a recurrent model: a layer, and the state that it carries.

Letters of shapes: B rows, T positions, N tokens without padding, E width of the input, H hidden
size, D directions.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from .configuration_recurrent import RecurrentConfig
from .functions_recurrent import FusedGRU, FusedRNN
from .padding_recurrent import Sequences, Steps
from .scan_recurrent import MinGRU, MinLSTM

CELLS = {
    "gru": FusedGRU,
    "lstm": nn.LSTM,
    "min_gru": MinGRU,
    "min_lstm": MinLSTM,
    "rnn": FusedRNN,
}


class LayerState:
    """State of one layer after the tokens read so far, (B, H) each; None before the first token.

    `cell` is (B, 0) except in LSTMs.
    """

    hidden: Tensor | None = None
    cell: Tensor | None = None

    def update(self, hidden: Tensor, cell: Tensor) -> None:
        """Replace the state by the one after further tokens."""
        self.hidden, self.cell = hidden, cell

    def select(self, rows: Tensor) -> None:
        """Keep the states of some rows, in the order given."""
        if self.hidden is not None and self.cell is not None:
            rows = rows.to(self.hidden.device)
            self.hidden = self.hidden.index_select(0, rows)
            self.cell = self.cell.index_select(0, rows)


class RecurrentCache(Cache):
    """States of all layers, passed on by `generate()`; pass it back to continue a text.

    It derives from transformers' `Cache` only to be accepted as one: the parts of a cache differ
    between versions, so that nothing else is inherited.
    """

    is_compileable = False
    is_sliding = (False,)
    max_batch_size = None
    max_cache_len = None

    def __init__(self, num_layers: int):
        # Not the __init__ of Cache: its layers differ between versions of transformers.
        self.layers = [LayerState() for _ in range(num_layers)]
        self.num_tokens = 0

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"RecurrentCache(layers={len(self.layers)}, num_tokens={self.num_tokens})"

    @property
    def is_initialized(self) -> bool:
        return self.layers[0].hidden is not None

    def update(self, *_, **__):
        raise TypeError("a recurrent state is replaced, layer by layer: see LayerState.update.")

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of positions read so far."""
        return self.num_tokens

    def get_max_length(self, layer_idx: int = 0) -> int:
        """Return -1: any number of tokens."""
        return -1

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """Return -1; older versions call this name."""
        return -1

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.num_tokens + query_length, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Give each row the state of the row that it continues."""
        for layer in self.layers:
            layer.select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        hidden = self.layers[0].hidden
        if hidden is not None:
            self.reorder_cache(torch.arange(len(hidden)).repeat_interleave(repeats))

    def crop(self, *_, **__):
        raise ValueError("A recurrent state cannot be taken back to an earlier token.")

    def reset(self) -> None:
        """Forget all tokens."""
        self.layers = [LayerState() for _ in self.layers]
        self.num_tokens = 0


def runnable_precision(device_type: str):
    """Return a context that disables autocast where torch would fail under it.

    On CPUs without AVX-512, oneDNN has no bf16 LSTM. torch 2.13 picks it nevertheless and raises;
    if torch uses its own kernels there, bf16 is emulated, ten times slower than fp32.
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
            input_size,
            config.hidden_size_per_direction,
            batch_first=True,
            bidirectional=config.bidirectional,
        )

    def forward(self, x: Tensor, sequences: Sequences | Steps | None = None, *state: Tensor):
        """Read x (B, T, E), or packed by `sequences`, (N, E).

        `state` is empty, or h and c, both (B, H); c is (B, 0) except in an LSTM. Returns the output
        (B, T, DH) or (N, DH), and the final h and c.
        """
        initial = self._to_torch(x, *state) if state else None
        with runnable_precision(x.device.type):
            if sequences is None:
                y, final = self.rnn(x, initial)
            else:
                y, final = sequences.read(self.rnn, x, initial)
        h, c = final if self.has_cell_state else (final, final[..., :0])
        return y, h[-1], c[-1]

    def _to_torch(self, x: Tensor, h: Tensor, c: Tensor):
        if not isinstance(self.rnn, nn.RNNBase):
            return h[None]  # which keeps its precision
        # A state that was made under autocast may have another precision than x.
        h, c = (s.to(x.dtype)[None].contiguous() for s in (h, c))  # (1, B, H)
        return (h, c) if self.has_cell_state else h
