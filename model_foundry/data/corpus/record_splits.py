"""The train, validation and test records of an experiment, drawn as its documents would be.

A record is used whole or not at all. None is kept in memory: it is read again each time.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model_foundry.config import DataConfig
from model_foundry.config.data import Split as SplitName
from model_foundry.data.corpus.record_corpus import (
    RecordCorpus,
    Role,
    open_record_corpus,
)
from model_foundry.data.corpus.record_digests import Digests, digests_of
from model_foundry.data.corpus.selection import Mask, interleaved
from model_foundry.data.sources.records import MOST_ROWS, Records, joined
from model_foundry.errors import DataError

logger = logging.getLogger(__name__)

DROPPED = {"warn": "", "drop": "; they are left out"}


class _Reader:
    """Records that are taken in any number."""

    def __init__(self, batches: Iterator[Records]) -> None:
        self._batches, self._held, self._start = batches, next(batches), 0

    def take(self, number: int) -> Records:
        """Return the next records, of which there are enough."""
        if len(self._held) < self._start + number:
            parts = [self._held.take(range(self._start, len(self._held)))]
            while sum(map(len, parts)) < number:
                parts.append(next(self._batches))
            self._held, self._start = joined(parts), 0
        self._start += number
        return self._held.take(range(self._start - number, self._start))


def _mixed(sources: list[Iterator[Records]], labels: NDArray[np.int16]) -> Iterator[Records]:
    """Yield the records of several sources in the order of their labels."""
    readers = [_Reader(source) for source in sources]
    for start in range(0, len(labels), MOST_ROWS):
        some = labels[start : start + MOST_ROWS]
        counts = np.bincount(some, minlength=len(readers))
        found = joined([each.take(n) for each, n in zip(readers, counts, strict=True) if n])
        # `found` has the records of the first source, then those of the next
        yield found.take(some.argsort(kind="stable").argsort())


@dataclass
class RecordSplit:
    """One of the parts of an experiment's records.

    Attributes:
        name: train, validation or test.
        role: `all` of the corpus, the records `held out`, or the `rest`.
        training: the training records, which should not be here too; None: these are them.
    """

    name: SplitName
    corpus: RecordCorpus
    role: Role = "all"
    training: "RecordSplit | None" = None
    _digests: dict[tuple[str, ...], Digests] = field(default_factory=dict, init=False)
    _reported: set[tuple[str, ...]] = field(default_factory=set, init=False)

    def records(self, columns: Sequence[str]) -> Iterator[Records]:
        """Read these columns of all records, in batches.

        Validation and test records that are equal to a training record in these columns are
        treated by `data.shared_documents`.

        Raises:
            DataError: there are no records or no such columns, or a source is damaged.
        """
        read, left = 0, 0
        own = self._hashed(columns) if self.training is None else self._compared(columns)
        for number, records in own:
            read += number
            left += len(records)
            yield records
        if not left:
            raise DataError(
                f"data.{self.name}: {self.corpus.name}: no record is left; name a source with "
                "other rows, or change data.shared_documents"
                if read
                else f"{self.corpus.name}: holds no records; name a source with rows"
            )

    def _all(self, columns: Sequence[str]) -> Iterator[Records]:
        sources = self.corpus.sources
        if self.role == "all" and len(sources) == 1 and sources[0].is_whole:
            return sources[0].chosen(columns, None)  # need not be counted
        times = [1 if self.role == "held out" else source.repeats for source in sources]
        drawn = list(zip(sources, self.corpus.masks(self.role, columns), times, strict=True))
        readers = [source.repeated(columns, mask, n) for source, mask, n in drawn]
        if len(readers) == 1:
            return readers[0]
        counts = [int(mask.sum()) * n for _, mask, n in drawn]
        return _mixed(readers, interleaved(counts, self.corpus.seed))

    def _hashed(self, columns: Sequence[str]) -> Iterator[tuple[int, Records]]:
        """Read the records, the number of them first, and keep their hashes."""
        key, found = tuple(columns), [np.empty(0, np.int64)]
        for records in self._all(columns):
            if key not in self._digests:
                found.append(digests_of(records))
            yield len(records), records
        self._digests.setdefault(key, np.unique(np.concatenate(found)))

    def _digests_of(self, columns: Sequence[str]) -> Digests:
        """Return the hashes that occur, over these columns, in order."""
        if tuple(columns) not in self._digests:
            for _ in self._hashed(columns):
                pass
        return self._digests[tuple(columns)]

    def _compared(self, columns: Sequence[str]) -> Iterator[tuple[int, Records]]:
        """Read the records as `_hashed` does; report once those that are in the training data."""
        assert self.training is not None
        training, number, total = self.training._digests_of(columns), 0, 0
        for records in self._all(columns):
            shared = _among(digests_of(records), training)
            number, total = number + int(shared.sum()), total + len(records)
            if self.corpus.data.shared_documents == "drop":
                records = records.take(np.flatnonzero(~shared))
            yield len(shared), records
        if tuple(columns) not in self._reported:
            self._report(number, total)
            self._reported.add(tuple(columns))

    def _report(self, count: int, total: int) -> None:
        verb, mode = "is" if count == 1 else "are", self.corpus.data.shared_documents
        found = f"{count:,} of the {total:,} {self.name} records {verb}"
        if count and mode == "error":
            raise DataError(
                f"data.{self.name}: {found} in the training data too; remove them there or here, "
                "or set data.shared_documents=drop"
            )
        if count:
            logger.warning("%s in the training data too%s", found, DROPPED[mode])


def _among(values: Digests, ordered: Digests) -> Mask:
    # np.isin would sort all of them for each batch
    return np.searchsorted(ordered, values, "left") < np.searchsorted(ordered, values, "right")


@dataclass(frozen=True)
class RecordSplits:
    """All records of an experiment."""

    train: RecordSplit
    validation: RecordSplit
    test: RecordSplit | None
    """None if the experiment has no test data."""


def open_record_splits(data: DataConfig, *, seed: int) -> RecordSplits:
    """Open the records of an experiment without reading them.

    Budgets, `validation_documents` and `shared_documents` count records.

    Args:
        seed: for the draws of validation records and budgets, and the order of mixtures.

    Raises:
        ConfigError: a setting has a meaning for text only.
        DataError: a source does not exist.
    """
    corpus = open_record_corpus(data.train, data, seed)
    if data.validation is None:
        train = RecordSplit("train", corpus, "rest")
        validation = RecordSplit("validation", corpus, "held out", train)
    else:
        train = RecordSplit("train", corpus)
        validation = RecordSplit(
            "validation", open_record_corpus(data.validation, data, seed), training=train
        )
    test = None
    if data.test is not None:
        test = RecordSplit("test", open_record_corpus(data.test, data, seed), training=train)
    return RecordSplits(train, validation, test)
