"""A corpus: sources with budgets and repeats, and the documents held out from training.

Nothing is read before it is needed. A draw for a budget or for validation reads the text once more
to count or measure its documents.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.config import DataConfig, MixtureSource
from model_foundry.config import Source as SourceConfig
from model_foundry.data.corpus.selection import Mask, held_out, within_budget
from model_foundry.data.sources.base import Hash, Reading, Source
from model_foundry.data.sources.opening import open_source
from model_foundry.data.sources.registration import identity_of
from model_foundry.data.sources.text_batch import (
    NONE,
    TextBatch,
    number,
    whole_documents,
    without_blank_documents,
    word_begins,
)
from model_foundry.errors import DataError

logger = logging.getLogger(__name__)

CountTokens = Callable[[Sequence[str]], list[int]]


def _count_words(batch: TextBatch) -> NDArray[np.int64]:
    bounds = batch.bounds
    begun = np.append(0, np.cumsum(word_begins(batch.text, bounds[:-1])))
    return np.diff(begun[bounds])


@dataclass
class Component:
    """One source of a corpus, with its budget and repeats."""

    source: Source
    budget: tuple[str, int] | None = None
    """(unit, amount); None: all."""
    repeats: int = 1

    def batches(self, blank: Counter[str] | None = None) -> Iterator[TextBatch]:
        """Read the documents that are not blank; count the others in `blank`."""
        return without_blank_documents(self.source.batches(), blank)

    def sizes(self, unit: str, count_tokens: CountTokens | None) -> NDArray[np.int64]:
        """Return the size of each document.

        Args:
            unit: documents, characters, words or tokens.
        """
        if unit == "documents":
            return np.ones(sum(len(ends) for _, ends in self.batches()), dtype=np.int64)
        if unit == "characters":  # of all documents together
            return np.array([sum(len(text) for text, _ in self.batches())], dtype=np.int64)
        batches = (batch for _, batch in whole_documents(number(self.batches())))
        if unit == "words":
            return np.concatenate([NONE, *map(_count_words, batches)])
        assert count_tokens is not None  # checked with the configuration
        return np.concatenate([NONE, *(count_tokens(batch.parts()) for batch in batches)])


@dataclass
class Corpus:
    """The components of a corpus, and the choice of their documents."""

    components: list[Component]
    data: DataConfig
    seed: int
    count_tokens: CountTokens | None = None
    """Counts the tokens of documents, for budgets in tokens; None: no budget is in tokens."""

    def cache_key(self, sha256: Hash) -> Any:
        """Return plain data that identifies the drawn documents."""
        parts = [[identity_of(c.source, sha256), c.budget, c.repeats] for c in self.components]
        drawn = len(parts) > 1 or any(c.budget for c in self.components)
        return [parts, self.seed if drawn else None]

    @cached_property
    def taken(self) -> list[Mask]:
        """The documents of each component that the experiment uses.

        Raises:
            DataError: a component is empty, or smaller than its budget.
        """
        return [self._within_budget(*each) for each in enumerate(self.components)]

    def _within_budget(self, part: int, component: Component) -> Mask:
        unit, amount = component.budget or ("documents", None)
        sizes = component.sizes(unit, self.count_tokens)
        if len(sizes) == 0:
            raise DataError(f"{component.source.name}: holds no text; name a corpus with text")
        if amount is None:
            return np.ones(len(sizes), dtype=np.bool_)
        if sizes.sum() < amount:
            raise DataError(
                f"{component.source.name}: has {sizes.sum():,} {unit}, fewer than its budget of "
                f"{amount:,}; lower the budget, or raise repeats if the source has a weight"
            )
        if amount == 0:
            raise DataError(
                f"{component.source.name}: its weight gives it less than one of the {unit} of the "
                "mixture; raise the weight or the budget"
            )
        taken = within_budget(sizes, amount, self.seed, part)
        if not taken.any():
            raise DataError(
                f"{component.source.name}: every document has more than the {amount:,} {unit} of "
                "the budget; raise the budget, or split the text into shorter documents "
                "(data.document)"
            )
        logger.info(
            "%s: %s documents with %s of %s %s",
            component.source.name,
            *(f"{count:,}" for count in (taken.sum(), sizes[taken].sum(), amount)),
            unit,
        )
        return taken

    @cached_property
    def held_out(self) -> list[Mask]:
        """The documents of each component that are held out for validation.

        Raises:
            DataError: there are too few documents.
        """
        everything = np.concatenate(self.taken)
        number = int(everything.sum())
        if number < 2:
            raise DataError(
                "data.train: the corpus is a single document, so none can be held out; set "
                "data.split_by=position, or data.document=line or paragraph, or give "
                "data.validation"
            )
        asked = self.data.validation_documents
        if asked is not None and asked >= number:
            raise DataError(
                f"data.validation_documents (={asked}) leaves nothing to train on: the corpus has "
                f"{number:,} documents; lower it"
            )
        share = min(max(1, round(self.data.validation_fraction * number)), number - 1)
        drawn = held_out(everything, share if asked is None else asked, self.seed)
        ends = np.cumsum([len(mask) for mask in self.taken])[:-1]
        return list(np.split(drawn, ends))

    @cached_property
    def characters(self) -> int:
        """Characters of all sources, including what the experiment does not use."""
        return sum(int(c.sizes("characters", None)[0]) for c in self.components)

    @cached_property
    def border(self) -> int:
        """The index of the first character of the validation text, if split by position."""
        fraction = self.data.validation_fraction
        characters, border = self.characters, int(self.characters * (1 - fraction))
        if border < 1 or border >= characters:
            raise DataError(
                f"data.validation_fraction (={fraction}) of {characters} characters leaves an "
                "empty part; use a longer corpus or another fraction"
            )
        return border


def _components(source: SourceConfig, data: DataConfig) -> list[Component]:
    if not isinstance(source, MixtureSource):
        reading = Reading(data.document, data.text_column, data.encoding_errors)
        return [Component(open_source(source, reading))]
    components = []
    for part, budget in zip(source.mixture, source.budgets(), strict=True):
        reading = Reading(
            part.document or data.document,
            part.text_column or data.text_column,
            data.encoding_errors,
        )
        components.append(Component(open_source(part.source, reading), budget, part.repeats))
    return components


def open_corpus(
    source: SourceConfig, data: DataConfig, *, seed: int, count_tokens: CountTokens | None = None
) -> Corpus:
    """Open a source of the configuration; see `open_splits`."""
    return Corpus(_components(source, data), data, seed, count_tokens)
