"""`RecordObjective`: tasks whose examples are records with named columns, held in memory."""

import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from model_foundry.architectures.plugin_check import plugin_fault
from model_foundry.data.batches.arrays import ArrayExamples, joined
from model_foundry.data.batches.examples import Column
from model_foundry.data.batches.loaders import Collate
from model_foundry.data.corpus.record_splits import RecordSplit, RecordSplits, open_record_splits
from model_foundry.data.sources.records import Records
from model_foundry.data.sources.rows import NoColumnError
from model_foundry.data_collators import PaddingCollator
from model_foundry.errors import DataError, ResumeError
from model_foundry.foundation.interrupts import check_interrupt
from model_foundry.objectives.base import Inspection, Objective, Prepared
from model_foundry.objectives.plugin_results import (
    require_columns,
    require_finite,
    require_names,
    require_plain_data,
    require_ragged,
    require_round_trip,
)
from model_foundry.objectives.processors import Processor, Processors, load_processors

logger = logging.getLogger(__name__)


class RecordObjective(Objective):
    """A task whose examples are records: rows of a CSV, JSON or Parquet file, or of a data set.

    A subclass names the columns, turns records into arrays and, where it needs to, learns
    processors from the training records.
    """

    units: ClassVar[Mapping[str, str]] = {}
    """What is counted beside the examples: the name of a ragged column whose lengths count, by
    unit."""
    fillers: ClassVar[Mapping[str, float]] = {}
    """Value at the padding of each ragged column; for those left out, `IGNORE_INDEX` of `labels`
    and 0 of all others."""
    masks: ClassVar[Mapping[str, str]] = {}
    """Name of the mask of a ragged column, for a model that takes one."""

    @property
    @abstractmethod
    def columns(self) -> Sequence[str]:
        """The columns that are read."""

    @property
    def grouped_by(self) -> Sequence[str]:
        """Ragged columns whose lengths the examples of a training step have alike, the first above
        all, so that there is little padding; none by default."""
        return ()

    def learn(self, records: Iterable[Records]) -> dict[str, Processor]:
        """Return the processors, by role, given the training records; none by default.

        Of several processes only the first calls it; the others load what it has made.

        Raises:
            DataError: the records cannot be used.
        """
        return {}

    @abstractmethod
    def encode(self, records: Records, processors: Processors) -> dict[str, Column]:
        """Return the columns of the examples: dense arrays (N, ...) or ragged ones of N rows.

        Raises:
            DataError: a record cannot be used.
        """

    def collate(self, processors: Processors, *, seed: int, evaluating: bool) -> Collate:
        """Return the function that makes batches; by default ragged columns are padded.

        Args:
            seed: for anything drawn, along with the keys of the examples: a batch that is made
                again, perhaps by another process, must be the same.
            evaluating: return the function for evaluations, not that for training.
        """
        return PaddingCollator(self.fillers, self.masks)

    def summary(self, prepared: Prepared) -> dict[str, Any]:
        found = super().summary(prepared)
        for name, examples in prepared.splits.items():
            if isinstance(examples, ArrayExamples) and examples.left_out:
                found[name]["records_left_out"] = sum(examples.left_out.values())
        return found

    def source_of(self, name: str) -> str:
        if type(self).collate is not RecordObjective.collate:
            return "collate"
        return "masks" if name in self.masks.values() else "encode"

    def prepare(self, kept: Path | None = None) -> Prepared:
        prepared = self._prepare(kept)
        for name, examples in prepared.splits.items():
            logger.info("%s: %s", name, examples.describe())
        return prepared

    def _prepare(self, kept: Path | None = None) -> Prepared:
        try:
            return self._prepared(kept)
        except NoColumnError as error:
            setting = self._setting_of(error.facts[1])
            raise (error.named(setting) if setting else error) from None

    def _setting_of(self, column: str) -> str | None:
        """Return the setting that names a column; None: there is none."""
        for name, value in self.settings or ():
            if column in (value if isinstance(value, list) else [value]):
                return f"training.{self.spec.name}.{name}"
        return None

    def _prepared(self, kept: Path | None) -> Prepared:
        require_names(type(self), self.columns)
        splits = open_record_splits(self.config.data, seed=self.config.seeds.split)
        if kept is None:
            learned = self.learn(splits.train.records(self.columns))
            require_round_trip(type(self), learned)
            return self._encoded(splits, learned)
        processors = load_processors(self.processor_types, kept)
        try:
            return self._encoded(splits, processors)
        except DataError as error:
            self._require_unchanged(splits.train, processors, error)
            raise

    def _require_unchanged(
        self, split: RecordSplit, processors: Processors, error: DataError
    ) -> None:
        """Raise a ResumeError if the training records would give other processors by now."""
        now = self.learn(split.records(self.columns))
        changed = [role for role, each in processors.items() if now[role].sha256 != each.sha256]
        if changed:
            raise ResumeError(
                f"output_dir: holds a run with other {', '.join(changed)} ({error}); restore the "
                "training data, start with --fresh to move the run aside, or set another output_dir"
            ) from error

    def _encoded(self, splits: RecordSplits, processors: Processors) -> Prepared:
        require_plain_data(type(self), "model_arguments", self.model_arguments(processors))
        seeds = self.config.seeds
        return Prepared(
            objective=self,
            processors=processors,
            collate=self.collate(processors, seed=seeds.data, evaluating=False),
            # what a study measures on is the same for all seeds of its data
            evaluating=self.collate(processors, seed=seeds.split, evaluating=True),
            train=self._read(splits.train, processors),
            validation=self._read(splits.validation, processors),
            test=None if splits.test is None else self._read(splits.test, processors),
        )

    def _read(self, split: RecordSplit, processors: Processors) -> ArrayExamples:
        parts, read, left = list[dict[str, Column]](), 0, 0
        for records in split.records(self.columns):
            check_interrupt()
            if len(records):
                parts.append(self._checked(records, processors))
                read += len(records)
                left += max(0, len(records) - max(map(len, parts[-1].values())))
        # `encode` may leave out all of some records, and has no types for them then
        kept = [part for part in parts if any(map(len, part.values()))]
        encode = f"{type(self).__name__}.encode"
        if not kept:
            law = f"{encode} leaves out each of the {read:,} records"
            raise DataError(f"data.{split.name}: {law}; give other data, or correct encode")
        with self._naming_encode():
            columns = joined(kept)
        require_ragged(type(self), columns)
        with self._naming_encode():
            return ArrayExamples(
                columns,
                units=self.units,
                left_out={encode: left},
                grouped_by=self.grouped_by,
            )

    @contextmanager
    def _naming_encode(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise plugin_fault(type(self), "encode", str(error)) from error

    def _checked(self, records: Records, processors: Processors) -> dict[str, Column]:
        with np.errstate(over="ignore", divide="ignore"):  # told with its record
            encoded = self.encode(records, processors)
        require_columns(type(self), encoded)
        try:
            require_finite(type(self), encoded, records)
        except DataError:
            if any(len(column) != len(records) for column in encoded.values()) and len(records) > 1:
                for index in range(len(records)):  # to name the record, as others are left out
                    self._checked(records.take([index]), processors)
            raise
        return encoded

    def inspect(self) -> Inspection:
        prepared = self._prepare()
        lines = [f"{name}: {examples.describe()}" for name, examples in prepared.splits.items()]
        arguments = self.model_arguments(prepared.processors)
        return Inspection(lines, arguments, "these data", prepared)
