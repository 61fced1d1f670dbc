"""Sources of records with budgets and repeats, and the records held out from training.

A budget in documents is one in records. Records are counted by reading one of their columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

import numpy as np

from model_foundry.config import DataConfig, MixtureSource
from model_foundry.config import Source as SourceConfig
from model_foundry.data.corpus.selection import Mask, held_out, last, within_budget
from model_foundry.data.sources.base import Reading, Source
from model_foundry.data.sources.opening import open_source
from model_foundry.data.sources.records import Records
from model_foundry.errors import DataError

Role = Literal["all", "held out", "rest"]


@dataclass
class RecordSource:
    """One source of records, with its budget and repeats."""

    source: Source
    budget: int | None = None
    """Number of records; None: all."""
    repeats: int = 1

    @property
    def is_whole(self) -> bool:
        """True if a pass reads each record once."""
        return self.budget is None and self.repeats == 1

    def chosen(self, columns: Sequence[str], mask: Mask | None) -> Iterator[Records]:
        """Read the records of a mask over all of them, (N,); None: all."""
        number = 0
        for records in self.source.records(columns):
            first, number = number, number + len(records)
            if mask is None:
                yield records
            elif number <= len(mask):
                yield records.take(np.flatnonzero(mask[first:number]))
        if mask is not None and number != len(mask):
            raise DataError(
                f"{self.source.name}: has {number:,} records, but had {len(mask):,} a moment ago: "
                "it changed while it was read; run the same command again once it is complete"
            )

    def repeated(self, columns: Sequence[str], mask: Mask | None, times: int) -> Iterator[Records]:
        """Read the records of a mask several times."""
        return chain.from_iterable(self.chosen(columns, mask) for _ in range(times))

    def taken(self, columns: Sequence[str], *, seed: int, part: int) -> Mask:
        """Return the records that the experiment uses, as a mask over all of them.

        Args:
            part: index of the source in a mixture.

        Raises:
            DataError: there are no records, or fewer than the budget.
        """
        number, name = sum(map(len, self.source.records(columns))), self.source.name
        if number == 0:
            raise DataError(f"{name}: holds no records; name a source with rows")
        if self.budget is None:
            return np.ones(number, dtype=np.bool_)
        if number < self.budget:
            raise DataError(
                f"{name}: has {number:,} records, fewer than its budget of {self.budget:,} "
                "documents; lower the budget, or raise repeats if the source has a weight"
            )
        if self.budget == 0:
            raise DataError(
                f"{name}: its weight gives it less than one of the documents of the mixture; raise "
                "the weight or the budget"
            )
        return within_budget(np.ones(number, dtype=np.int64), self.budget, seed, part)


@dataclass
class RecordCorpus:
    """Sources of records, and the choice of their records."""

    sources: list[RecordSource]
    data: DataConfig
    seed: int
    _taken: list[Mask] = field(default_factory=list, init=False)

    def masks(self, role: Role, columns: Sequence[str]) -> list[Mask]:
        """Return the records of each source that are in a split.

        Args:
            columns: the columns that are read to count the records.

        Raises:
            DataError: there are too few records.
        """
        if not self._taken:
            pairs = enumerate(self.sources)
            self._taken = [s.taken(columns[:1], seed=self.seed, part=n) for n, s in pairs]
        if role == "all":
            return self._taken
        held = self._held_out(np.concatenate(self._taken))
        if role == "held out":
            return held
        return [taken & ~out for taken, out in zip(self._taken, held, strict=True)]

    def _held_out(self, taken: Mask) -> list[Mask]:
        number, asked = int(taken.sum()), self.data.validation_documents
        if number < 2:
            law = "is a single record, so none can be held out"
            raise DataError(f"{self.name}: {law}; give data.validation")
        if asked is not None and asked >= number:
            raise DataError(
                f"data.validation_documents (={asked}) leaves nothing to train on: there are "
                f"{number:,} records; lower it"
            )
        share = min(max(1, round(self.data.validation_fraction * number)), number - 1)
        count = share if asked is None else asked
        by_position = self.data.split_by == "position"
        drawn = last(taken, count) if by_position else held_out(taken, count, self.seed)
        return np.split(drawn, np.cumsum([len(mask) for mask in self._taken])[:-1])

    @property
    def name(self) -> str:
        """The names of all sources."""
        return ", ".join(source.source.name for source in self.sources)


def open_record_corpus(source: SourceConfig, data: DataConfig, seed: int) -> RecordCorpus:
    """Open a source of the configuration; see `open_record_splits`."""
    reading = Reading(data.document, data.text_column, data.encoding_errors)
    if not isinstance(source, MixtureSource):
        return RecordCorpus([RecordSource(open_source(source, reading))], data, seed)
    sources = [
        RecordSource(open_source(part.source, reading), budget and budget[1], part.repeats)
        for part, budget in zip(source.mixture, source.budgets(), strict=True)
    ]
    return RecordCorpus(sources, data, seed)
