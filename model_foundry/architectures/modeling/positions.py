"""Positions of tokens, of five kinds with one interface.

A kind may add a vector to each embedding (learned, sinusoidal), rotate queries and keys (rotary),
or add a number to each score (alibi, relative); the base class does none of these.

Letters of shapes: B rows, T queries, S keys, N heads, D width of a head, H hidden size; the queries
are the last T of the S positions.
"""

import math

import torch
from torch import Tensor, nn

POSITIONS = ("learned", "sinusoidal", "rotary", "alibi", "relative")
Rotation = tuple[Tensor, Tensor]  # cosine and sine, (B, 1, T, D) each


def number_tokens(shape: torch.Size, past: int, attention_mask: Tensor | None, device) -> Tensor:
    """Return the positions of T tokens, (B, T) or (1, T), counted from 0 without padding.

    Args:
        shape: begins with B, T.
        past: number of positions read before.
        attention_mask: (B, S), 1 for real tokens; None: all are.
    """
    if attention_mask is None:
        return torch.arange(past, past + shape[1], device=device)[None]
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -shape[1] :]


def number_within_documents(document_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """Return the number of real tokens of its document before each token, (B, T).

    Args:
        document_ids: (B, T).
        attention_mask: (B, T), 1 for real tokens; None: all are.
    """
    if attention_mask is not None:
        document_ids = document_ids.masked_fill(attention_mask == 0, -1)
    return (document_ids[:, :, None] == document_ids[:, None, :]).tril(-1).sum(-1)


def sinusoids(positions: Tensor, size: int) -> Tensor:
    """Return sin and cos of the positions (...) in turn, (..., size).

    The wavelengths rise from 2 pi to 10,000 times 2 pi (Vaswani et al. 2017, section 3.5).
    """
    rates = 10_000 ** (-torch.arange(0, size, 2, device=positions.device) / size)
    angles = positions[..., None] * rates  # (..., size / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :size]


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate queries or keys (B, N, T, D) by the angles of their positions.

    Pairs are D/2 apart, as in Llama; Su et al. pair neighbours, which is the same model.
    """
    cos, sin = rotation
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)


def relative_bucket(
    distance: Tensor, *, bidirectional: bool, num_buckets: int = 32, max_distance: int = 128
) -> Tensor:
    """Return the bucket of each distance, key minus query (Raffel et al. 2020, arXiv:1910.10683).

    Half of the buckets hold one small distance each, the other half grow logarithmically up to
    `max_distance`, beyond which all share the last. A bidirectional model has half of all for the
    keys after the query; a causal one treats these as distance 0.
    """
    offset = torch.zeros_like(distance)
    if bidirectional:
        num_buckets //= 2
        offset = (distance > 0) * num_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = num_buckets // 2
    growth = (distance.clamp(min=1).float() / exact).log() / math.log(max_distance / exact)
    far = exact + (growth * (num_buckets - exact)).long()
    return offset + torch.where(distance < exact, distance, far.clamp(max=num_buckets - 1))


def distances(num_queries: int, num_keys: int, device) -> Tensor:
    """Return key minus query, (T, S)."""
    keys = torch.arange(num_keys, device=device)
    return keys[None, :] - keys[num_keys - num_queries :, None]


class Positions(nn.Module):
    """No positions, and the interface of all kinds."""

    def embed(self, x: Tensor, position_ids: Tensor) -> Tensor:
        """Return the embeddings x (B, T, H), with positions (B or 1, T) added."""
        return x

    def rotation(self, position_ids: Tensor) -> Rotation | None:
        """Return the rotation of queries and keys at (B or 1, T)."""
        return None

    def bias(self, num_queries: int, num_keys: int, device) -> Tensor | None:
        """Return what is added to the scores, (1, N, T, S)."""
        return None


class LearnedPositions(Positions):
    """A vector for each position (Gehring et al. 2017, arXiv:1705.03122)."""

    def __init__(self, num_positions: int, hidden_size: int):
        super().__init__()
        self.embedding = nn.Embedding(num_positions, hidden_size)

    def embed(self, x: Tensor, position_ids: Tensor) -> Tensor:
        return x + self.embedding(position_ids)


class SinusoidalPositions(Positions):
    """Fixed waves beside scaled embeddings (Vaswani et al. 2017, arXiv:1706.03762).

    Embeddings are multiplied by sqrt(H), as there, so that the waves do not drown them.
    """

    def embed(self, x: Tensor, position_ids: Tensor) -> Tensor:
        size = x.shape[-1]
        return x * size**0.5 + sinusoids(position_ids, size).to(x.dtype)


class RotaryPositions(Positions):
    """Queries and keys turned by their positions (Su et al. 2021, arXiv:2104.09864).

    Args:
        head_size: D, even.
        base: wavelength of the slowest pair over 2 pi.
    """

    def __init__(self, head_size: int, base: float = 10_000.0):
        super().__init__()
        if head_size % 2:
            raise ValueError(
                f"`positions` (=rotary) turn pairs of numbers, and a head is {head_size} wide; "
                "choose `hidden_size` and `num_attention_heads` for an even quotient."
            )
        self.head_size, self.base = head_size, base

    def rotation(self, position_ids: Tensor) -> Rotation:
        steps = torch.arange(0, self.head_size, 2, device=position_ids.device) / self.head_size
        angles = position_ids[:, None, :, None] * self.base**-steps  # (B, 1, T, D / 2)
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()


class AlibiPositions(Positions):
    """Scores that fall with the distance (Press, Smith and Lewis 2022, arXiv:2108.12409).

    In an encoder they fall on both sides.
    """

    def __init__(self, num_heads: int):
        super().__init__()
        self.num_heads = num_heads

    def slopes(self) -> list[float]:
        """Return the slope of each head, from 2^(-8/N) to 2^-8 for N a power of two.

        For another N: those of the next lower power of two, then every other of the next higher.
        """
        lower = 2 ** int(math.log2(self.num_heads))
        first = [2 ** (-8 * (i + 1) / lower) for i in range(lower)]
        between = [2 ** (-4 * (i + 1) / lower) for i in range(0, 2 * lower, 2)]
        return first + between[: self.num_heads - lower]

    def bias(self, num_queries: int, num_keys: int, device) -> Tensor:
        slopes = torch.tensor(self.slopes(), device=device)[None, :, None, None]  # (1, N, 1, 1)
        return -slopes * distances(num_queries, num_keys, device).abs()


class RelativePositions(Positions):
    """A learned number for each head and bucket of distances (Raffel et al. 2020).

    One table serves all layers of a stack, as in T5.
    """

    def __init__(self, num_heads: int, *, bidirectional: bool):
        super().__init__()
        self.bidirectional = bidirectional
        self.embedding = nn.Embedding(32, num_heads)

    def bias(self, num_queries: int, num_keys: int, device) -> Tensor:
        distance = distances(num_queries, num_keys, device)
        buckets = relative_bucket(distance, bidirectional=self.bidirectional)  # (T, S)
        return self.embedding(buckets).permute(2, 0, 1)[None]  # (T, S, N) -> (1, N, T, S)


def create_positions(
    kind: str, *, hidden_size: int, num_heads: int, num_positions: int, causal: bool
) -> Positions:
    """Return the positions of a stack.

    Args:
        kind: a name in `POSITIONS`.
        num_positions: the most that `learned` ones can tell apart.
        causal: whether no query sees a later key; `relative` ones then need no buckets for these.
    """
    match kind:
        case "learned":
            return LearnedPositions(num_positions, hidden_size)
        case "sinusoidal":
            return SinusoidalPositions()
        case "rotary":
            return RotaryPositions(hidden_size // num_heads)
        case "alibi":
            return AlibiPositions(num_heads)
        case "relative":
            return RelativePositions(num_heads, bidirectional=not causal)
    raise ValueError(f"`positions` must be one of {', '.join(POSITIONS)}, got {kind!r}.")
