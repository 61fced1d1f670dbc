"""The section `model.backbone` of all transformers that are made of this package's own parts."""

from typing import Annotated, Literal, cast

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
    on_embeddings: bool | None = None
    """Also on the embeddings; None: as in BERT, in encoders with `post`."""
    eps: PositiveFloat = 1e-5
    """Added to the variance; GPT-2 has 1e-5, BERT 1e-12."""


class StackConfig(Section):
    """One of the two stacks of an encoder-decoder."""

    layers: Depth
    """Number of blocks."""


class BackboneConfig(Section):
    """Blocks of attention and feed-forward sublayers, with their positions and norms."""

    layers: Depth | None = None
    """Number of blocks, in an encoder-decoder of each stack; None: `encoder` and `decoder` say."""
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
    initializer_range: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of the initial weights."""
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
    encoder: StackConfig | None = None
    """The encoder of `transformer`; None: it has `layers` blocks."""
    decoder: StackConfig | None = None
    """The decoder of `transformer`; None: it has `layers` blocks."""

    @property
    def encoder_layers(self) -> int:
        """The number of blocks of an encoder-decoder's encoder."""
        return cast(int, self.layers if self.encoder is None else self.encoder.layers)

    @property
    def decoder_layers(self) -> int:
        """The number of blocks of an encoder-decoder's decoder."""
        return cast(int, self.layers if self.decoder is None else self.decoder.layers)

    @model_validator(mode="after")
    def _each_stack_has_layers(self) -> "BackboneConfig":
        if self.layers is None and (self.encoder is None or self.decoder is None):
            law = (
                "is required; an encoder-decoder may have encoder.layers and decoder.layers instead"
            )
            raise faults_error(("layers", law))
        if self.layers is not None and self.encoder is not None and self.decoder is not None:
            law = f"(={self.layers}) has no effect beside both encoder and decoder; leave it out"
            raise faults_error(("layers", law))
        return self

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
