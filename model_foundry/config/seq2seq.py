"""The sections of the objectives of encoder-decoders, `seq2seq_lm` and `span_denoising`."""

from typing import Annotated

from pydantic import Field

from model_foundry.config.sections import (
    ColumnsSection,
    PositiveInt,
    Probability,
    Section,
    TokenizerConfig,
)


class Seq2SeqConfig(ColumnsSection):
    """Pairs of texts: one is read, the other is written."""

    columns = ("source", "target")

    source: str = "source"
    """Column with the text that is read."""
    target: str = "target"
    """Column with the text that is written."""
    target_tokenizer: TokenizerConfig | None = None
    """Tokenizer of the targets; None: one for both, which a model with shared embeddings needs."""
    max_target_length: Annotated[int, Field(ge=2, lt=2**31)] | None = None
    """Tokens of a target at most, with its end; None: `data.max_sequence_length`."""
    label_smoothing: Probability = 0.0
    """Share of the probability that is spread over the vocabulary (Szegedy et al. 2016,
    arXiv:1512.00567)."""
    bucket_by_length: bool = True
    """Pairs of similar lengths make a step, with little padding; false: they are drawn at random.
    """
    num_beams: PositiveInt = 1
    """Beams with which evaluations write; 1: greedily."""


def span_counts(length: int, share: float, mean: float) -> tuple[int, int]:
    """Return how many tokens of a text are hidden, and in how many spans.

    Args:
        length: tokens that may be hidden, two at least.
        share: share of them that is hidden.
        mean: mean number of tokens in a span.
    """
    hidden = min(max(round(length * share), 1), length - 1)
    return hidden, min(max(round(hidden / mean), 1), length - hidden)


class SpanDenoisingConfig(Section):
    """The spans that are hidden; the defaults are T5's (Raffel et al. 2020, arXiv:1910.10683)."""

    hidden_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the tokens that is hidden."""
    mean_span_length: Annotated[float, Field(ge=1)] = 3.0
    """Mean number of tokens in a hidden span."""

    def longest_target(self, text: int) -> int:
        """Return the maximum number of tokens of a target.

        A hidden span that contains the end of a document or of the ring is two, each with a
        sentinel; a last sentinel and the end token follow.

        Args:
            text: tokens of a block that may be hidden.
        """
        hidden, spans = span_counts(text, self.hidden_share, self.mean_span_length)
        return hidden + min(2 * spans, hidden) + 2
