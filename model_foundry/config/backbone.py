"""The section `model.backbone` of all transformers that are made of this package's own parts."""

from typing import Literal

from pydantic import Field, PositiveFloat, model_validator

from model_foundry.config.sections import (
    Depth,
    PositiveInt,
    Probability,
    Section,
    Width,
    faults_error,
)


class FeedForwardConfig(Section):
    """The feed-forward sublayers."""

    hidden_size: PositiveInt | None = None
    """Width between the two projections; None: four times that of the residual stream."""
    activation: Literal["gelu", "gelu_new", "relu", "swiglu", "geglu"] = "gelu"
    """Nonlinearity; `swiglu` and `geglu` have a gate, and half as many weights again."""


class NormConfig(Section):
    """The norms."""

    kind: Literal["layer_norm", "rms_norm"] = "layer_norm"
    """`rms_norm` neither centres nor has a bias."""
    place: Literal["pre", "post"] = "pre"
    """Before each sublayer, or after its residual sum, as first published."""
    eps: PositiveFloat = 1e-5
    """Added to the variance; GPT-2 has 1e-5, BERT 1e-12."""


class BackboneConfig(Section):
    """Blocks of attention and feed-forward sublayers, with their positions and norms."""

    layers: Depth
    """Number of blocks."""
    hidden_size: Width
    """Width of embeddings and residual stream."""
    attention_heads: PositiveInt
    """Attention heads in each block; they divide `hidden_size`."""
    dropout: Probability = 0.1
    """Dropout on embeddings and on the output of each sublayer."""
    attention_dropout: Probability = 0.1
    """Dropout on the attention weights."""
    bias: bool = True
    """Biases in projections and layer norms."""
    tie_word_embeddings: bool = True
    """Whether the output matrix is the embedding matrix."""
    max_position_embeddings: PositiveInt | None = None
    """Positions that learned ones can distinguish; None: the block length."""
    feed_forward: FeedForwardConfig = Field(default_factory=FeedForwardConfig)
    """The feed-forward sublayers."""
    positions: Literal["learned", "sinusoidal", "rotary", "alibi", "relative"] = "learned"
    """Kind of positions; only learned ones limit the length of a text."""
    norm: NormConfig = Field(default_factory=NormConfig)
    """Kind and place of the norms."""

    @model_validator(mode="after")
    def _heads_divide_the_hidden_size(self) -> "BackboneConfig":
        size, heads = self.hidden_size, self.attention_heads
        if size % heads:
            law = f"must be a multiple of attention_heads (={heads}), got {size}"
            raise faults_error(("hidden_size", law))
        if self.positions == "rotary" and size // heads % 2:
            law = "(=rotary) needs heads of even width, and hidden_size / attention_heads is "
            raise faults_error(("positions", f"{law}{size // heads}; change one of them"))
        return self
