"""The sections of built-in tasks with labels, `training.<objective>`."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter

from model_foundry.config.sections import ColumnsSection, Probability, faults_error
from model_foundry.foundation.messages import short_repr
from model_foundry.registry import nearest

WordPiece = Literal["first", "last"]
Pooling = Literal["cls", "mean", "max", "last"]

_BY_LABEL = TypeAdapter(
    dict[str, Annotated[float, Field(gt=0)]], config=ConfigDict(strict=True, allow_inf_nan=False)
)


def _balanced_or_by_label(value: Any) -> Any:
    # Before the union, which would report a line for each of its members.
    if isinstance(value, dict):
        return _BY_LABEL.validate_python(value)
    if value in (None, "balanced"):
        return value
    close = nearest(value, ["balanced"]) if isinstance(value, str) else None
    hint = f"; did you mean {close!r}?" if close else ""
    law = "must be 'balanced' or a mapping of labels to numbers"
    raise faults_error(("", f"{law}, got {short_repr(value)}{hint}"))


ClassWeights = Annotated[
    Literal["balanced"] | dict[str, float] | None, BeforeValidator(_balanced_or_by_label)
]


class TokenClassificationConfig(ColumnsSection):
    """Classification of words: the columns of a table or of CoNLL-U, and the output layer."""

    columns = ("words", "labels")

    words: str = "words"
    """Column with the words of a text: lists of texts, or texts that are divided at white space; of
    CoNLL-U `form`."""
    labels: str = "labels"
    """Column with a label for each word, in the same form; of CoNLL-U `upos`, for instance."""
    word_piece: WordPiece = "first"
    """Piece of a word that has its label, where the tokenizer divides it; at the last one a causal
    model has read the whole word."""
    bucket_by_length: bool = True
    """Texts of similar lengths make a step, with little padding; false: they are drawn at random.
    """
    dropout: Probability = 0.1
    """Dropout before the output layer."""
    freeze_body: bool = False
    """Train the output layer alone, a probe; the body computes as in evaluation."""
    class_weights: ClassWeights = None
    """Weights of the labels in the loss, 1 for those left out; `balanced`: inversely proportional
    to their number in the training data; None: none."""
    label_smoothing: Probability = 0.0
    """Share of the probability that is spread over all labels (Szegedy et al. 2016,
    arXiv:1512.00567)."""


class SequenceClassificationConfig(ColumnsSection):
    """Classification of texts: the columns of a table, and the output layer."""

    columns = ("text", "text_pair", "label")

    text: str = "text"
    """Column with the text."""
    text_pair: str | None = None
    """Column with a second text, which is read after the first; None: there is one text only."""
    label: str = "label"
    """Column with the label."""
    multi_label: bool = False
    """A text has any number of labels: the column has lists of texts, or texts with commas between
    the labels."""
    pooling: Pooling = "mean"
    """One vector for a text: the state at its first token (`cls`) or its last one, or the mean or
    the maximum over its tokens."""
    bucket_by_length: bool = True
    """Texts of similar lengths make a step, with little padding; false: they are drawn at random.
    """
    dropout: Probability = 0.1
    """Dropout before the output layer."""
    freeze_body: bool = False
    """Train the output layer alone, a probe; the body computes as in evaluation."""
    class_weights: ClassWeights = None
    """Weights of the labels in the loss, 1 for those left out; `balanced`: inversely proportional
    to their number in the training data; None: none. With `multi_label` they apply where a label is
    present, and `balanced` is the number of texts without it per text with it."""
    label_smoothing: Probability = 0.0
    """Share of the probability that is spread over all labels (Szegedy et al. 2016,
    arXiv:1512.00567); with `multi_label`, over presence and absence."""
