"""Paired text files: line n of one file and line n of the other are one record."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from model_foundry.config import PairsSource
from model_foundry.data.sources.base import Hash, Reading, Source
from model_foundry.data.sources.compression import opened, unpacked
from model_foundry.data.sources.paths import kind_of, require_regular
from model_foundry.data.sources.records import MOST_ROWS, Records
from model_foundry.data.sources.rows import no_column
from model_foundry.data.sources.text import decoded
from model_foundry.errors import DataError
from model_foundry.foundation.messages import printable
from model_foundry.foundation.paths import written_path


class PairedFiles(Source):
    """Two text files with a line for each record, in the columns `source` and `target`.

    Args:
        source: the files.
        reading: `encoding_errors` counts; a document is always a line.
    """

    def __init__(self, source: PairsSource, reading: Reading) -> None:
        files = source.pairs.model_dump()
        self.paths = {name: Path(written_path(path)) for name, path in files.items()}
        super().__init__(" and ".join(map(printable, self.paths.values())))
        for path in self.paths.values():
            require_regular(path)
        self._errors = reading.encoding_errors

    def records(self, columns: Sequence[str]) -> Iterator[Records]:
        """Read both files in step.

        Raises:
            DataError: one file has more lines than the other, or cannot be read.
        """
        for column in columns:
            if column not in self.paths:
                raise no_column(self.name, column, list(self.paths))
        with ExitStack() as stack:
            files = {name: stack.enter_context(opened(p)) for name, p in self.paths.items()}
            rows = zip_longest(*(self._lines(self.paths[n], f) for n, f in files.items()))
            read = 0
            while held := list(islice(rows, MOST_ROWS)):
                if None in held[-1]:
                    raise self._unequal(chain(held, rows), read)
                values = dict(zip(self.paths, zip(*held, strict=True), strict=True))
                yield Records(
                    columns={name: list(values[name]) for name in columns},
                    source=self.name,
                    places=range(read + 1, read + len(held) + 1),
                    place="line %d",
                )
                read += len(held)

    def _lines(self, path: Path, file: BinaryIO) -> Iterator[str]:
        where = printable(path)
        parts = unpacked(file, where, kind_of(path).compression)
        return _lines_of(
            decoded(parts, where, errors=self._errors, note_replaced=lambda count: None)
        )

    def _unequal(self, rest: Iterable[tuple[Any, ...]], read: int) -> DataError:
        """Return the error for files of unequal length, given the rows after those that were read.

        The shorter file has None in each row after its end.
        """
        lengths = np.full(len(self.paths), read)
        for row in rest:
            lengths += [line is not None for line in row]
        counts = " and ".join(
            f"{printable(path)} has {length:,} lines"
            for path, length in zip(self.paths.values(), lengths, strict=True)
        )
        return DataError(f"{counts}; line n of both files must be one record, so give equally many")

    def cache_key(self, sha256: Hash) -> Any:
        """Return the content of both files."""
        return ["pairs", *map(sha256, self.paths.values()), self._errors]


def _lines_of(texts: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text that comes in parts, without their ends."""
    rest = ""
    for text in texts:
        *lines, rest = (rest + text).split("\n")
        yield from lines
    if rest:
        yield rest
