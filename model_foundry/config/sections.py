"""The base class of sections, shared types, and the sections of tokenizers and models.

Every field documents its unit and the meaning of None. Scalars are strict: no "7" for 7.
"""

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from model_foundry.config.on_resume import OnResume
from model_foundry.foundation.paths import written_path

PositiveInt = Annotated[int, Field(gt=0, lt=2**31)]
Width = Annotated[int, Field(gt=0, le=2**20)]  # of a layer; torch cannot count the bytes of 2**31
Depth = Annotated[int, Field(gt=0, le=1000)]  # in layers; two billion would be built for ever
Probability = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
LONGEST_NAME = 200  # bytes; file systems allow 255, and longer names are built from it


def faults_error(*faults: tuple[str, str]) -> PydanticCustomError:
    """Return the error for several faults: pairs of (dotted field from here, message)."""
    text = "; ".join(f"{field}: {message}" for field, message in faults)
    return PydanticCustomError("faults", "{text}", {"text": text, "faults": faults})


def _nameable(path: Path) -> Path:
    """Refuse a path that no file system accepts."""
    if "\0" in str(path):
        raise PydanticCustomError("path", "must not hold a zero byte")
    try:
        too_long = any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts)
    except UnicodeEncodeError as error:
        law = f"must be made of what the locale has ({error.encoding}); set PYTHONUTF8=1"
        raise PydanticCustomError("path", law) from error
    if too_long:
        raise PydanticCustomError("path", f"must not hold a name of more than {LONGEST_NAME} bytes")
    return path


def at_home(path: Any) -> Any:
    """Return a path with its home directory in place of a `~` that it begins with."""
    if not isinstance(path, str | Path):
        return path
    try:
        return written_path(path)
    except RuntimeError as error:
        raise PydanticCustomError("path", "must not begin with an unknown home") from error


AnyPath = Annotated[Path, Field(strict=False), BeforeValidator(at_home), AfterValidator(_nameable)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, assignments are validated like a file."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        validate_assignment=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    def __setattr__(self, name: str, value: Any) -> None:
        # pydantic leaves the new value in place when a validator of the whole section refuses it
        before = self.model_copy()
        try:
            super().__setattr__(name, value)
        except ValueError:
            for part in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__"):
                object.__setattr__(self, part, getattr(before, part))
            raise


class ColumnsSection(Section):
    """A section that names the columns of a table.

    Attributes:
        columns: the fields that name one each.
    """

    columns: ClassVar[tuple[str, ...]]

    @model_validator(mode="after")
    def _each_names_another(self) -> Self:
        field_of: dict[str, str] = {}
        for field in self.columns:
            name = getattr(self, field)
            if name in field_of:
                law = f"must be another column than that of {field_of[name]!r}, got {name!r} twice"
                raise faults_error((field, law))
            field_of[name] = field
        return self


PathText = Annotated[str, Field(min_length=1), BeforeValidator(at_home)]


# --- tokenizer ------------------------------------------------------------------------------------


SPECIAL_TOKEN_ROLES = ("pad", "unk", "bos", "eos", "cls", "sep", "mask")


class TokenizerConfig(Section):
    """The tokenizer: trained from the train split, or loaded."""

    tokenizer_type: Literal["sentencepiece", "wordpiece", "bpe", "character", "word"] = (
        "sentencepiece"
    )
    """The kind to train; `bpe` is byte-level, `word` splits at white space."""
    vocab_size: PositiveInt = 8000
    """Most entries it may have, special tokens included; a small corpus yields fewer."""
    special_tokens: dict[str, str | None] = Field(default_factory=dict)
    """Other strings for the special tokens, by role (pad, unk, bos, eos, cls, sep, mask); `mask`
    may be null, for a tokenizer without one."""
    path: Annotated[PathText | None, OnResume.BY_CONTENT] = None
    """Directory (or hub name) of a tokenizer to load; None: one is trained."""
    model_type: Literal["unigram", "bpe"] = "unigram"
    """Algorithm of a sentencepiece tokenizer."""
    normalization: Literal["identity", "nfkc", "nmt_nfkc"] = "identity"
    """Normalisation of a sentencepiece tokenizer; only `identity` keeps every character."""
    lowercase: bool = False
    """Lower-case the text of a wordpiece tokenizer."""
    min_frequency: PositiveInt = 1
    """Times a word must occur for a word tokenizer to know it."""
    training_bytes: PositiveInt | None = 100_000_000
    """UTF-8 bytes of text that a tokenizer is trained on at most, spread evenly over the training
    text; None: all of it. SentencePiece takes about 25 times as much memory."""


# --- models ---------------------------------------------------------------------------------------


class TransformerModelConfig(Section):
    """A stack of transformer layers."""

    layers: Depth
    """Number of layers."""
    hidden_size: Width
    """Width of the residual stream."""
    attention_heads: PositiveInt
    """Attention heads in each layer; they divide `hidden_size`."""
    embedding_size: Width = Field(default_factory=lambda data: data["hidden_size"])
    """Width of the token embeddings; left out: `hidden_size`."""
    intermediate_hidden_size: PositiveInt = Field(
        default_factory=lambda data: 4 * data["hidden_size"]
    )
    """Width inside the feed-forward layers; left out: four times `hidden_size`."""
    activation_function: Literal[
        "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "tanh"
    ] = "gelu"
    """Nonlinearity of the feed-forward layers; `gelu_pytorch_tanh` is a faster `gelu_new`."""
    dropout: Probability = 0.1
    """Dropout on embeddings and on the output of each sublayer."""
    attention_dropout: Probability = 0.1
    """Dropout on the attention weights."""
    max_position_embeddings: PositiveInt | None = None
    """Positions that the model can distinguish; None: the block length."""

    @model_validator(mode="after")
    def _heads_divide_the_hidden_size(self) -> "TransformerModelConfig":
        if self.hidden_size % self.attention_heads:
            law = f"must be a multiple of attention_heads (={self.attention_heads})"
            raise faults_error(("hidden_size", f"{law}, got {self.hidden_size}"))
        return self


class BERTSpecificConfig(Section):
    """Settings of BERT beyond a stack of transformer layers."""

    type_vocab_size: PositiveInt = 2
    """Number of segment types."""
    pooler_type: Literal["first"] = "first"
    """Position that represents the sequence in a later classifier; stored in the model's config."""


class RNNModelConfig(Section):
    """A stack of recurrent layers."""

    embedding_size: Width
    """Width of the token embeddings."""
    hidden_size: Width
    """Width of the state of one layer in one direction."""
    num_layers: Depth = 1
    """Number of layers."""
    bidirectional: bool = False
    """Read in both directions; for masked objectives, which need it."""
    dropout: Probability = 0.1
    """Dropout on embeddings, between layers and on the output."""
    rnn_type: str | None = None
    """Kind of cell; None: that of `model.architecture`, which it must equal."""
    tie_word_embeddings: bool = False
    """Use the embedding matrix as the output matrix too (Press and Wolf 2017, arXiv:1608.05859)."""
