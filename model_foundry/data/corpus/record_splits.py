"""The train, validation and test records of an experiment, drawn as its documents would be.

A record is used whole or not at all. None is kept in memory: it is read again each time.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.config import DataConfig
from model_foundry.config.data import Split as SplitName
from model_foundry.data.corpus.record_corpus import (
    RecordCorpus,
    Role,
    open_record_corpus,
    refuse_settings_of_text,
)
from model_foundry.data.corpus.selection import Mask, interleaved
from model_foundry.data.sources.base import Hash
from model_foundry.data.sources.records import MOST_ROWS, Column, Records, joined
from model_foundry.errors import DataError

logger = logging.getLogger(__name__)

DROPPED = {"warn": "", "drop": "; they are left out"}
Digests = NDArray[np.int64]


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
    _shared: dict[tuple[str, ...], Mask] = field(default_factory=dict, init=False)

    def cache_key(self, sha256: Hash) -> Any:
        """Return plain data that identifies the records: equal only for equal ones.

        The columns are not part of it.
        """
        data, drawn, without = self.corpus.data, [], None
        if self.role != "all":
            drawn = [data.validation_fraction, data.validation_documents, self.corpus.seed]
        if self.training is not None and data.shared_documents == "drop":
            without = self.training.cache_key(sha256)
        return ["records", self.corpus.cache_key(sha256), self.role, drawn, without]

    def records(self, columns: Sequence[str]) -> Iterator[Records]:
        """Read these columns of all records, in batches.

        Validation and test records that are equal to a training record in these columns are
        treated by `data.shared_documents`.

        Raises:
            DataError: there are no records or no such columns, or a source is damaged.
        """
        read, left = 0, 0
        shared, digests = self._in_training(columns), list[Digests]()
        for records in self._all(columns):
            first, read = read, read + len(records)
            if shared is None:  # now, so that validation does not read the training data again
                digests.append(_digests(records))
            elif self.corpus.data.shared_documents == "drop":
                records = records.take(np.flatnonzero(~shared[first:read]))
            left += len(records)
            yield records
        if shared is None:
            self._digests[tuple(columns)] = _joined(digests)
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

    def _digests_of(self, columns: Sequence[str]) -> Digests:
        """Return a hash of each record, over these columns, (N,)."""
        if (key := tuple(columns)) not in self._digests:
            self._digests[key] = _joined(map(_digests, self._all(columns)))
        return self._digests[key]

    def _in_training(self, columns: Sequence[str]) -> Mask | None:
        """Return the records that are in the training data too, (N,), and report them once."""
        if self.training is None:
            return None
        if (key := tuple(columns)) not in self._shared:
            training = self.training._digests_of(columns)
            self._shared[key] = np.isin(self._digests_of(columns), training)
            self._report(self._shared[key])
        return self._shared[key]

    def _report(self, shared: Mask) -> None:
        count, mode = int(shared.sum()), self.corpus.data.shared_documents
        verb = "is" if count == 1 else "are"
        found = f"{count:,} of the {len(shared):,} {self.name} records {verb}"
        if count and mode == "error":
            raise DataError(
                f"data.{self.name}: {found} in the training data too; remove them there or here, "
                "or set data.shared_documents=drop"
            )
        if count:
            logger.warning("%s in the training data too%s", found, DROPPED[mode])


def _joined(digests: Iterable[Digests]) -> Digests:
    return np.concatenate([np.empty(0, np.int64), *digests])


def _digests(records: Records) -> Digests:
    columns = map(_printed, records.columns.values())
    # of the printed row, since the hashes of -1 and -2 are equal
    hashes = (hash(repr(row)) for row in zip(*columns, strict=True))
    return np.fromiter(hashes, np.int64, count=len(records))


def _printed(column: Column) -> Iterable[Any]:
    """Return values that are printed alike only if they are equal."""
    if not isinstance(column, np.ndarray):
        return column
    return column.tolist() if column.ndim == 1 else (hash(row.tobytes()) for row in column)


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
    refuse_settings_of_text(data)
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
