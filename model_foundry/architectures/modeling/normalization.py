"""The norms of a transformer, by name; both are torch's own.

`layer_norm` centres and scales each vector (Ba, Kiros and Hinton 2016, arXiv:1607.06450),
`rms_norm` only scales it, and has no bias (Zhang and Sennrich 2019, arXiv:1910.07467).
"""

from torch import nn

NORMS = ("layer_norm", "rms_norm")


def create_norm(kind: str, size: int, *, eps: float = 1e-5, bias: bool = True) -> nn.Module:
    """Return a norm over the last dimension, of `size`.

    Args:
        kind: a name in `NORMS`.
        eps: added to the variance or mean square.
        bias: whether a layer norm has one.
    """
    if kind == "rms_norm":
        return nn.RMSNorm(size, eps=eps)
    return nn.LayerNorm(size, eps=eps, bias=bias)
