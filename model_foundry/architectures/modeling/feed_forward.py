"""The feed-forward sublayer: two projections with a nonlinearity between them.

Letters of shapes: B rows, T positions, H hidden size, F inner size.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,  # Hendrycks and Gimpel (2016, arXiv:1606.08415)
    "gelu_new": partial(F.gelu, approximate="tanh"),  # as in GPT-2
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}
GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "swiglu": F.silu,
    "geglu": F.gelu,  # Shazeer (2020, arXiv:2002.05202)
}


class FeedForward(nn.Module):
    """Two projections (Vaswani et al. 2017, section 3.3), the first gated in swiglu and geglu.

    A gate multiplies one half of a projection of twice the width by the activation of the other:
    at equal F it has half as many weights again.

    Args:
        hidden_size: H.
        inner_size: F.
        activation: a name in `ACTIVATIONS` or `GATES`.
        bias: add biases to the projections.
    """

    def __init__(self, hidden_size: int, inner_size: int, activation: str, *, bias: bool = True):
        super().__init__()
        self.gated = activation in GATES
        self.activation = (GATES if self.gated else ACTIVATIONS)[activation]
        self.up = nn.Linear(hidden_size, inner_size * (2 if self.gated else 1), bias=bias)
        self.down = nn.Linear(inner_size, hidden_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, H) to (B, T, H)."""
        y = self.up(x)  # (B, T, F), or (B, T, 2F) with a gate
        if not self.gated:
            return self.down(self.activation(y))
        gate, value = y.chunk(2, dim=-1)
        return self.down(self.activation(gate) * value)
