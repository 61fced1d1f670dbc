"""The block that encoders and decoders share (Vaswani et al. 2017, arXiv:1706.03762).

Letters of shapes: B rows, T positions, S positions of the encoder's output, H hidden size.
"""

from torch import Tensor, nn

from .attention import CrossAttention, SelfAttention
from .configuration_transformer import TransformerConfig
from .feed_forward import FeedForward
from .key_value_cache import LayerCache
from .normalization import create_norm
from .positions import Rotation


def norm_of(config: TransformerConfig) -> nn.Module:
    """Return a new norm over the hidden size."""
    return create_norm(config.norm, config.hidden_size, eps=config.norm_eps, bias=config.bias)


class Residual(nn.Module):
    """A sublayer with its norm, dropout and residual sum.

    Before the sublayer (`pre`) the norm leaves the sum untouched, so that deep stacks train without
    warm-up (Xiong et al. 2020, arXiv:2002.04745); after the sum (`post`) it is as first published.
    """

    def __init__(self, sublayer: nn.Module, config: TransformerConfig):
        super().__init__()
        self.norm = norm_of(config)
        self.sublayer = sublayer
        self.dropout = nn.Dropout(config.dropout)
        self.norm_first = config.norm_place == "pre"

    @property
    def projection(self):
        """The last layer of the sublayer, whose output is added."""
        is_feed_forward = isinstance(self.sublayer, FeedForward)
        return self.sublayer.down if is_feed_forward else self.sublayer.output

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        """Map x (B, T, H) to (B, T, H); further arguments go to the sublayer."""
        if self.norm_first:
            return x + self.dropout(self.sublayer(self.norm(x), *args, **kwargs))
        return self.norm(x + self.dropout(self.sublayer(x, *args, **kwargs)))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention in a decoder that has an encoder, and feed-forward.

    Args:
        config: sizes, kinds and place of the norm.
        cross_attention: attend to an encoder's output as well.
        fused: use torch's attention kernel; otherwise the plain form.
    """

    def __init__(self, config: TransformerConfig, *, cross_attention: bool, fused: bool = True):
        super().__init__()
        size, heads = config.hidden_size, config.num_attention_heads
        options = {"dropout": config.attention_dropout, "bias": config.bias, "fused": fused}
        feed_forward = FeedForward(
            size, config.intermediate_size, config.activation, bias=config.bias
        )
        self.self_attention = Residual(SelfAttention(size, heads, **options), config)
        self.cross_attention = (
            Residual(CrossAttention(size, heads, **options), config) if cross_attention else None
        )
        self.feed_forward = Residual(feed_forward, config)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        *,
        is_causal: bool = False,
        rotation: Rotation | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """Map x (B, T, H) to (B, T, H).

        Args:
            mask, is_causal, rotation, cache: as in `SelfAttention`.
            memory: the encoder's output, (B, S, H).
            memory_mask: as `mask`, for the memory.
        """
        x = self.self_attention(x, mask, is_causal=is_causal, rotation=rotation, cache=cache)
        if self.cross_attention is not None:
            x = self.cross_attention(x, memory, memory_mask, cache=cache)
        return self.feed_forward(x)
