"""Attention: scaled dot-product with several heads (Vaswani et al. 2017, arXiv:1706.03762), and
additive (Bahdanau, Cho and Bengio 2015, arXiv:1409.0473).

Masks come from `masks.py`: boolean, True where a query sees a key, or numbers added to the scores.

Letters of shapes: B rows, T queries, S keys, N heads, D width of a head, H = ND hidden size.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .key_value_cache import LayerCache
from .masks import causal_mask
from .positions import Rotation, rotate


def plain_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return softmax(qk' / sqrt(D)) v, (B, N, T, D), and the weights, (B, N, T, S).

    It computes the same as torch's fused kernel, and keeps the weights. For q, k, v and `mask` see
    `dot_product_attention`.
    """
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (B, N, T, S)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        scores = scores + mask
    weights = scores.softmax(dim=-1)
    return F.dropout(weights, dropout) @ v, weights


def dot_product_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    is_causal: bool = False,
    dropout: float = 0.0,
    fused: bool = True,
) -> Tensor:
    """Return the mean of the values, (B, N, T, D), weighted by the match of queries and keys.

    Args:
        q: queries, (B, N, T, D).
        k, v: keys and values, (B, N, S, D).
        mask: broadcast to (B, N, T, S), boolean or added to the scores; None: all keys are seen.
        is_causal: hide the keys after each query, instead of a mask; T = S. A kernel that knows
            this skips half of the work.
        dropout: probability of dropping a weight; 0 outside training.
        fused: use torch's kernel, which never stores the weights.
    """
    if fused:
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal)
    if is_causal:
        mask = causal_mask(q.shape[-2], k.shape[-2], q.device)
    return plain_attention(q, k, v, mask, dropout=dropout)[0]


class AdditiveAttention(nn.Module):
    """Attention whose score is a small network, w' tanh(Aq + Bk) (Bahdanau et al. 2015).

    Args:
        query_size, key_size: widths of queries and keys.
        hidden_size: width of the network.
    """

    def __init__(self, query_size: int, key_size: int, hidden_size: int):
        super().__init__()
        self.query = nn.Linear(query_size, hidden_size)
        self.key = nn.Linear(key_size, hidden_size, bias=False)
        self.score = nn.Linear(hidden_size, 1, bias=False)

    def forward(
        self, queries: Tensor, keys: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted means of the keys, (B, T, key_size), and the weights, (B, T, S).

        Args:
            queries: (B, T, query_size).
            keys: (B, S, key_size).
            mask: boolean, broadcast to (B, T, S), True where a query sees a key; None: all.
        """
        sums = self.query(queries)[:, :, None] + self.key(keys)[:, None]  # (B, T, S, hidden)
        scores = self.score(sums.tanh()).squeeze(-1)  # (B, T, S)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        weights = scores.softmax(dim=-1)
        return weights @ keys, weights


class MultiHeadAttention(nn.Module):
    """The heads that self- and cross-attention share (Vaswani et al. 2017, section 3.2.2).

    Args:
        hidden_size: H, a multiple of `num_heads`.
        num_heads: N.
        dropout: probability of dropping an attention weight in training.
        bias: add biases to the projections.
        fused: use torch's kernel; otherwise the plain form.
    """

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        fused: bool = True,
    ):
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(
                f"`hidden_size` (={hidden_size}) must be a multiple of `num_attention_heads` "
                f"(={num_heads}); change one of them."
            )
        self.num_heads, self.dropout, self.fused = num_heads, dropout, fused
        self.output = nn.Linear(hidden_size, hidden_size, bias=bias)

    def split_heads(self, x: Tensor) -> Tensor:
        """Turn (B, T, H) into (B, N, T, D)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, **options) -> Tensor:
        """Attend in each head and join the heads: (B, N, T, D) to (B, T, H)."""
        options["dropout"] = self.dropout if self.training else 0.0
        y = dot_product_attention(q, k, v, mask, fused=self.fused, **options)  # (B, N, T, D)
        return self.output(y.transpose(1, 2).flatten(-2))  # (B, T, N, D) -> (B, T, H)


class SelfAttention(MultiHeadAttention):
    """Attention of a text to itself; arguments as `MultiHeadAttention`."""

    def __init__(self, hidden_size: int, num_heads: int, *, bias: bool = True, **options):
        super().__init__(hidden_size, num_heads, bias=bias, **options)
        self.query_key_value = nn.Linear(hidden_size, 3 * hidden_size, bias=bias)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        is_causal: bool = False,
        rotation: Rotation | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Map x (B, T, H) to (B, T, H).

        Args:
            mask: broadcast to (B, N, T, S), see `masks.py`; None: every position is seen.
            is_causal: hide later positions, instead of a mask.
            rotation: of rotary positions, for x; None: queries and keys are not rotated.
            cache: holds the earlier S - T positions, and gets those of x.
        """
        parts = self.query_key_value(x).chunk(3, dim=-1)  # 3 of (B, T, H)
        q, k, v = (self.split_heads(part) for part in parts)  # (B, N, T, D)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        if cache is not None:
            k, v = cache.extend(k, v)  # (B, N, S, D)
        return self.attend(q, k, v, mask, is_causal=is_causal)


class CrossAttention(MultiHeadAttention):
    """Attention of a decoder to the encoder's output; arguments as `MultiHeadAttention`."""

    def __init__(self, hidden_size: int, num_heads: int, *, bias: bool = True, **options):
        super().__init__(hidden_size, num_heads, bias=bias, **options)
        self.query = nn.Linear(hidden_size, hidden_size, bias=bias)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size, bias=bias)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None = None,
        *,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Map x (B, T, H) to (B, T, H).

        Args:
            memory: output of the encoder, (B, S, H).
            mask: broadcast to (B, N, T, S), see `masks.py`; None: all of the memory is seen.
            cache: keeps the keys and values of the memory after the first call.
        """
        q = self.split_heads(self.query(x))
        compute = partial(self.keys_and_values, memory)
        k, v = compute() if cache is None else cache.once(compute)  # (B, N, S, D)
        return self.attend(q, k, v, mask)

    def keys_and_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of a memory (B, S, H), (B, N, S, D) each."""
        k, v = self.key_value(memory).chunk(2, dim=-1)
        return self.split_heads(k), self.split_heads(v)
