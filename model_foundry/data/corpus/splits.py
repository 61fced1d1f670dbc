"""The train, validation and test texts of an experiment, after interventions.

No text is kept in memory: it is read again each time it is needed.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_foundry.config import DataConfig, Source
from model_foundry.config.data import Split as SplitName
from model_foundry.data.corpus.corpus import Component, Corpus, CountTokens, open_corpus
from model_foundry.data.corpus.mixing import mixed
from model_foundry.data.corpus.selection import Mask, interleaved
from model_foundry.data.sources.base import Hash
from model_foundry.data.sources.text_batch import (
    Numbered,
    TextBatch,
    in_batches,
    number,
    whole_documents,
)
from model_foundry.errors import DataError
from model_foundry.foundation import process_pool
from model_foundry.foundation.process_pool import map_in_order
from model_foundry.interventions.chain import Chain, Document, Report


class Changed(NamedTuple):
    """Documents after interventions, some of which may be blank now."""

    documents: Numbered
    report: Report


@dataclass
class Split:
    """One of the texts of an experiment.

    Attributes:
        name: train, validation or test.
        role: `all` of the corpus, the documents `held out`, or the `rest`.
        chain: the interventions applied to each document.
    """

    name: SplitName
    corpus: Corpus
    role: str
    chain: Chain
    excluded: NDArray[np.int64] | None = None
    """Numbers of the documents to leave out because they are in the training text; None: keep
    them."""
    blank: Counter[str] = field(default_factory=Counter)
    """Blank documents that the last reading left out."""
    _planned: bool = field(default=False, init=False)

    def cache_key(self, sha256: Hash) -> Any:
        """Return plain data that identifies the text: equal only for equal texts."""
        data, drawn = self.corpus.data, []
        if self.role != "all":
            drawn = [data.split_by, data.validation_fraction, data.validation_documents]
            drawn += [self.corpus.seed] if data.split_by == "document" else []
        return [self.corpus.cache_key(sha256), self.role, drawn, self.chain.cache_key()]

    def numbered(self) -> Iterator[Numbered]:
        """Read the documents before interventions with their numbers, the same for repeats."""
        self.blank.clear()
        found = self._by_position() if self._split_by_position else self._by_document()
        if self.excluded is not None:
            found = (each.take(~np.isin(each.numbers, self.excluded)) for each in found)
        return _sized(found)

    def whole(self) -> Iterator[Numbered]:
        """Read the documents of `numbered`, none of which goes on in the next batch."""
        return _sized(whole_documents(self.numbered()))

    def left_out(self) -> dict[str, int]:
        """Return the number of documents that the last reading left out, by reason."""
        counts = dict(self.blank)
        if any(component.budget for component in self.corpus.components):
            counts["beyond the budget"] = sum(int((~mask).sum()) for mask in self.corpus.taken)
        if self.excluded is not None:
            counts["in the training text too"] = len(self.excluded)
        return {reason: count for reason, count in counts.items() if count}

    def sources(self) -> list[dict[str, Any]]:
        """Return the `name` of each source of a mixture and its number of `documents`."""
        components = self.corpus.components
        if len(components) == 1:
            return []
        return [
            {"name": component.source.name, "documents": count}
            for component, count in zip(components, self._counts(), strict=True)
        ]

    @property
    def replaced(self) -> int:
        """Characters that replaced invalid UTF-8 in the last reading."""
        return sum(getattr(c.source, "replaced", 0) for c in self.corpus.components)

    def once(self) -> Iterator[Numbered]:
        """Read each document once; none goes on in the next batch."""
        readers = self._readers(repeated=False)
        return _sized(whole_documents(chain.from_iterable(readers)))

    def texts(self, processes: int) -> Iterator[TextBatch]:
        """Read the documents after interventions."""
        if not self.chain:
            yield from (batch for _, batch in self.numbered())
            return
        self.plan(processes)
        for applied in map_in_order(self.changed, self.whole(), processes=processes):
            _, batch = applied.documents
            yield batch.take(batch.filled())

    def changed(self, documents: Numbered) -> Changed:
        """Apply the interventions to whole documents."""
        applied = self.chain.apply(_pairs(documents))
        numbers = np.array([index for index, _ in applied.texts], dtype=np.int64)
        batch = TextBatch.of([text for _, text in applied.texts])
        return Changed(Numbered(numbers, batch), applied.report)

    def count(self, processes: int) -> tuple[int, int]:
        """Return the number of documents and of characters; raise a DataError if there are none."""
        documents = characters = 0
        for text, ends in self.texts(processes):
            documents += len(ends)
            characters += len(text)
        if not documents:
            raise self.empty_error()
        return documents, characters

    def empty_error(self) -> DataError:
        """Return the error for a split without documents."""
        if self.role == "all" and not self.chain and self.excluded is None:
            names = ", ".join(component.source.name for component in self.corpus.components)
            return DataError(f"{names}: holds no text; name a corpus with text")
        return DataError(
            f"data.{self.name}: no document is left; name a corpus with text, or change "
            "data.interventions or data.shared_documents"
        )

    def plan(self, processes: int) -> None:
        """Survey the whole text for the steps that need it, once."""
        if self._planned:
            return
        for position in self.chain.needs_surveys():
            survey = partial(_survey, self.chain, position)
            found = list(map_in_order(survey, self.once(), processes=processes))
            if not found:
                return  # no text: the next reading raises the error
            numbers = np.concatenate([numbers for numbers, _, _ in found])
            rows = np.concatenate([rows for _, rows, _ in found])
            alive = np.zeros(int(numbers.max()) + 1, dtype=np.bool_)
            surveys = np.zeros((len(alive), rows.shape[1]), dtype=np.int64)
            surveys[numbers] = rows
            alive[numbers] = np.concatenate([mask for _, _, mask in found])
            self.chain.plan(position, surveys, alive)
        self._planned = True

    @property
    def _split_by_position(self) -> bool:
        return self.role != "all" and self.corpus.data.split_by == "position"

    def _by_position(self) -> Iterator[Numbered]:
        place = 0
        for numbers, batch in number(self.corpus.components[0].batches(self.blank)):
            border = self.corpus.border - place  # in this batch
            place += len(batch.text)
            if self.role == "rest":
                if border <= 0:
                    return
                yield _before(border, numbers, batch)
            elif border < len(batch.text):
                behind = int((batch.ends <= border).sum())
                rest = TextBatch(batch.text[max(border, 0) :], batch.ends[behind:] - max(border, 0))
                yield Numbered(numbers[behind:], rest)

    def _by_document(self) -> Iterator[Numbered]:
        readers = self._readers(repeated=True)
        if len(readers) == 1:
            return readers[0]
        return mixed(readers, interleaved(self._counts(), self.corpus.seed))

    def _counts(self) -> list[int]:
        """Return the number of documents of each source, repeats included."""
        pairs = zip(self._masks(), self.corpus.components, strict=True)
        return [int(mask.sum()) * self._times(component) for mask, component in pairs]

    def _times(self, component: Component) -> int:
        return 1 if self.role == "held out" else component.repeats

    def _masks(self) -> list[Mask]:
        corpus = self.corpus
        if self.role == "held out":
            return corpus.held_out
        if self.role == "all":
            return corpus.taken
        return [t & ~h for t, h in zip(corpus.taken, corpus.held_out, strict=True)]

    def _readers(self, *, repeated: bool) -> list[Iterator[Numbered]]:
        """Return a reader of numbered documents for each component."""
        components = self.corpus.components
        if self._split_by_position:
            return [self._by_position()]
        masks: Sequence[Mask | None] = [None]  # all documents, which need not be counted
        if self.role != "all" or len(components) > 1 or components[0].budget:
            masks = self._masks()
        firsts = np.cumsum([0, *(0 if mask is None else len(mask) for mask in masks)]).tolist()
        return [
            self._reader(component, mask, first, self._times(component) if repeated else 1)
            for component, mask, first in zip(components, masks, firsts[:-1], strict=True)
        ]

    def _reader(
        self, component: Component, mask: Mask | None, first: int, times: int
    ) -> Iterator[Numbered]:
        for reading in range(times):
            blank = self.blank if reading == 0 else None
            for each in number(component.batches(blank)):
                if mask is not None and each.numbers.max(initial=-1) >= len(mask):
                    raise DataError(
                        f"{component.source.name}: has more documents than a moment ago: it "
                        "changed while it was read; run the same command again once it is complete"
                    )
                numbers, batch = each if mask is None else each.take(mask[each.numbers])
                yield Numbered(first + numbers, batch)


def _before(border: int, numbers: NDArray[np.int64], batch: TextBatch) -> Numbered:
    """Return the text of a batch before a border, at which its last document ends."""
    text, ends = batch.text[:border], batch.ends[batch.ends <= border]
    if len(batch.text) >= border and not (len(ends) and ends[-1] == border):
        ends = np.append(ends, border)
    return Numbered(numbers[: len(TextBatch(text, ends).bounds) - 1], TextBatch(text, ends))


def _sized(numbered: Iterator[Numbered]) -> Iterator[Numbered]:
    return in_batches(numbered, process_pool.BATCH)


def _pairs(documents: Numbered) -> list[Document]:
    return list(zip(documents.numbers.tolist(), documents.batch.parts(), strict=True))


def _survey(
    steps: Chain, position: int, documents: Numbered
) -> tuple[NDArray[np.int64], NDArray[np.int64], Mask]:
    return documents.numbers, *steps.survey(position, _pairs(documents))


@dataclass(frozen=True)
class Splits:
    """All texts of an experiment."""

    train: Split
    validation: Split
    test: Split | None
    """None if the experiment has no test text."""


def open_splits(data: DataConfig, *, seed: int, count_tokens: CountTokens | None = None) -> Splits:
    """Open the texts of an experiment without reading them.

    Args:
        seed: for the draws of validation documents and budgets, and the order of mixtures.
        count_tokens: counts the tokens of documents; None: no budget is in tokens.

    Raises:
        DataError: a source does not exist.
    """

    def corpus(source: Source) -> Corpus:
        return open_corpus(source, data, seed=seed, count_tokens=count_tokens)

    def split(name: SplitName, of: Corpus, role: str = "all") -> Split:
        return Split(name, of, role, Chain.of(data.interventions, name, seed))

    training = corpus(data.train)
    if data.validation is None:
        train, validation = (
            split("train", training, "rest"),
            split("validation", training, "held out"),
        )
    else:
        train, validation = split("train", training), split("validation", corpus(data.validation))
    test = None if data.test is None else split("test", corpus(data.test))
    return Splits(train, validation, test)
