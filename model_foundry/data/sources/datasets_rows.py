"""Data sets read by the `datasets` library: from the Hub, a directory like one, or save_to_disk."""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from model_foundry.config import DiskSource, HubSource
from model_foundry.data.sources.base import Hash, Reading
from model_foundry.data.sources.records import Records
from model_foundry.data.sources.row_source import RowSource
from model_foundry.errors import DataError
from model_foundry.foundation.interrupts import check_interrupt
from model_foundry.foundation.messages import reason_of

ROWS = 1000  # in a batch; single rows take ten times as long
COMMIT = re.compile(r"[0-9a-f]{40}")


class DataSetRows(RowSource):
    """Rows of a data set of the `datasets` library."""

    @abstractmethod
    def rows(self) -> Any:
        """Load the data set, which has an `iter(batch_size)`."""

    def records(self, columns: Sequence[str]) -> Iterator[Records]:
        """Read these columns of each row, as lists."""
        read = 0
        for batch in self._batches(columns):
            check_interrupt()
            number = len(next(iter(batch.values()), ()))
            places = range(read + 1, read + number + 1)
            yield Records(columns=batch, source=self.name, places=places).select(columns)
            read += number

    def _batches(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        from datasets.exceptions import DatasetGenerationError  # as heavy as datasets itself

        try:
            rows = self.rows()
            if columns and set(columns) <= set(rows.column_names or ()):
                rows = rows.select_columns(list(columns))  # the others need not be decoded
            yield from map(_with_names(rows), _with_encoded_images(rows).iter(batch_size=ROWS))
        except DataError:
            raise
        except Exception as error:  # no network, no such name, no permission: a class for each
            reason = error.__cause__ if isinstance(error, DatasetGenerationError) else error
            raise DataError(
                f"{self.name}: cannot be read as a data set ({reason_of(reason)})"
            ) from error


def _with_encoded_images(rows: Any) -> Any:
    """Return rows whose images are dictionaries of `bytes` and `path`, to be decoded by us."""
    from datasets import Image

    for name, feature in (rows.features or {}).items():
        if isinstance(feature, Image):
            rows = rows.cast_column(name, Image(decode=False))
    return rows


def _with_names(rows: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that gives classes their names in a batch; -1 stands for no class."""
    namings = {name: _naming_of(feature) for name, feature in (rows.features or {}).items()}

    def name_classes(batch: dict[str, Any]) -> dict[str, Any]:
        found = ((name, values, namings.get(name)) for name, values in batch.items())
        return {name: list(map(n, values)) if n else values for name, values, n in found}

    return name_classes


def _naming_of(feature: Any) -> Callable[[Any], Any] | None:
    """Return a function that names the classes of a value, perhaps in lists; None: it has none."""
    from datasets import ClassLabel

    if isinstance(feature, ClassLabel):
        return lambda number: None if number is None or number < 0 else feature.int2str(number)
    entry = getattr(feature, "feature", None)  # of each kind of list
    naming = None if entry is None else _naming_of(entry)
    return naming and (lambda row: None if row is None else list(map(naming, row)))


def _sha256_of_tree(directory: Path, sha256: Hash) -> list[list[str]]:
    paths = (path for path in sorted(directory.rglob("*")) if path.is_file())
    named = ((path.relative_to(directory), path) for path in paths)
    return [
        [name.as_posix(), sha256(path)]
        for name, path in named
        if not any(part.startswith(".") for part in name.parts)
    ]


class HubRows(DataSetRows):
    """A data set of the Hub, or a directory with the layout of one.

    The files of a directory are read each time: a copy that `datasets` caches would stay the same
    when they change.
    """

    def __init__(self, source: HubSource, reading: Reading) -> None:
        super().__init__(source.hub, reading.text_column)
        self.source = source

    def rows(self) -> Any:
        """Load the split, over the network unless it is a directory or cached."""
        import datasets

        source, is_directory = self.source, Path(self.source.hub).is_dir()
        return datasets.load_dataset(
            source.hub,
            source.name,
            split=source.split,
            revision=None if is_directory else source.revision,
            streaming=source.streaming or is_directory,
        )

    def cache_key(self, sha256: Hash) -> Any:
        """Return the content of a directory, or the commit of a data set on the Hub."""
        which = [self.source.name, self.source.split, self.column]
        if (directory := Path(self.source.hub)).is_dir():
            return ["hub directory", *which, _sha256_of_tree(directory, sha256)]
        return ["hub", *which, self.source.hub, self._commit()]

    def _commit(self) -> str:
        """Return the commit of the revision; without a network only a full hash will do."""
        from huggingface_hub import HfApi

        revision = self.source.revision
        if revision is not None and COMMIT.fullmatch(revision):
            return revision
        try:
            return str(HfApi().dataset_info(self.source.hub, revision=revision).sha)
        except Exception as error:  # no network, no such name, no permission: a class for each
            raise DataError(
                f"{self.name}: its newest commit cannot be determined ({reason_of(error)}); check "
                "the name, or pin `revision` to a commit of 40 digits that was downloaded before"
            ) from error


class SavedRows(DataSetRows):
    """A `Dataset` or `DatasetDict` written by `save_to_disk`."""

    def __init__(self, source: DiskSource, reading: Reading) -> None:
        super().__init__(source.disk, reading.text_column)
        self.source, self.directory = source, Path(source.disk)

    def rows(self) -> Any:
        """Load the split."""
        import datasets

        # a saved format may turn rows into NumPy, torch or pandas, or leave the column out
        found = datasets.load_from_disk(str(self.directory)).with_format(None)
        if not isinstance(found, datasets.DatasetDict):
            return found
        if self.source.split not in found:
            known = ", ".join(found)
            raise DataError(f"{self.name}: has no split {self.source.split!r}, but {known}")
        return found[self.source.split]

    def cache_key(self, sha256: Hash) -> Any:
        """Return the content of the directory."""
        if not self.directory.is_dir():
            raise DataError(f"{self.name}: no such directory; name one that save_to_disk wrote")
        tree = _sha256_of_tree(self.directory, sha256)
        return ["disk", self.source.split, self.column, tree]
