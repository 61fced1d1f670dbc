"""Figures of a corpus before training, which `report` computes."""

from dataclasses import asdict, dataclass
from typing import Any

from model_foundry.corpus_report.counts import LengthFigures
from model_foundry.corpus_report.samples import SampleRow
from model_foundry.data.batches.pass_counts import EpochCounts


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


@dataclass(frozen=True, kw_only=True)
class SplitFigures:
    """Figures of one text of an experiment."""

    name: str
    documents: int
    sources: list[dict[str, Any]]
    """The `name` and the number of `documents` of each source of a mixture, before interventions;
    empty for a single source."""
    words: int
    """Text between white space."""
    bytes: int
    """UTF-8 bytes of the text."""
    tokens: EpochCounts
    """The tokens of one pass, in rows and left over."""
    predicted: int | None
    """Tokens that are predicted in a pass, or their expected number if they are drawn; None: the
    objective is a plugin."""
    text_tokens: int
    """Tokens of text, without the frames of documents."""
    unknown_tokens: int
    """Tokens of text that are the unknown token."""
    unknown_bytes: int
    """UTF-8 bytes of the text of these tokens."""
    unknown_words: int
    """Words that begin in an unknown token."""
    lengths: LengthFigures
    shared: int
    """Documents that are also in the training text; 0 for the training text."""
    left_out: dict[str, int]
    """Documents that were read and left out, by reason."""
    replaced: int
    """Invalid UTF-8 that was replaced by U+FFFD."""
    lossless: bool
    """True if the tokenizer restores every character."""
    not_comparable: str | None
    """The reason why bits per byte of this text cannot be compared across tokenizers; None: they
    can."""
    interventions: list[dict[str, Any]]
    """The report of each step; see `interventions.report.StepReport`."""
    step_numbers: list[int]
    """Position of each of these steps in `data.interventions`, from 1."""
    text_sha256: str
    tokens_sha256: str

    def taken_from(self, source: str) -> int | None:
        """Return the number of documents of a source, which may be in a mixture twice; None if
        this text is not a mixture."""
        counts = [taken["documents"] for taken in self.sources if taken["name"] == source]
        return sum(counts) if self.sources else None

    @property
    def ratios(self) -> dict[str, float | None]:
        """Ratios of the other figures; None instead of a division by zero."""
        return {
            "tokens_per_word": _ratio(self.text_tokens, self.words),
            "bytes_per_token": _ratio(self.bytes, self.text_tokens),
            "unknown_share_of_tokens": _ratio(self.unknown_tokens, self.text_tokens),
            "unknown_share_of_bytes": _ratio(self.unknown_bytes, self.bytes),
            "unknown_share_of_words": _ratio(self.unknown_words, self.words),
        }


@dataclass(frozen=True, kw_only=True)
class FrequentToken:
    """An entry of the vocabulary, and its number of occurrences in the training text."""

    id: int
    text: str
    count: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The use of the vocabulary by the training text."""

    size: int
    """Entries of the tokenizer."""
    ordinary: int
    """Entries that are not special tokens."""
    used: int
    """Entries among these that occur."""
    bulk: int
    """The fewest entries that make up 90% of the tokens of text."""
    most_frequent: list[FrequentToken]


@dataclass(frozen=True, kw_only=True)
class CorpusReport:
    """All figures of a corpus before training."""

    experiment_name: str
    objective: str
    packing: str
    predicted: str
    """Description of the predicted tokens."""
    same_source: bool
    """True if validation is held out from the training source, so that both report the documents
    that it left out."""
    splits: list[SplitFigures]
    length_edges: list[int]
    """Edges of the bins of all histograms, in tokens; the last one is above the longest length."""
    vocabulary: Vocabulary
    samples: list[SampleRow]
    """Rows of the training text."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        plain = asdict(self)
        for record, split in zip(plain["splits"], self.splits, strict=True):
            record.update(split.ratios)
        return plain
