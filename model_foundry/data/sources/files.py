"""Files of all kinds as a source.

`datasets` could read some of them, but copies the text, holds more in memory, reports no line
numbers and fills in missing values.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from model_foundry.data.sources.array_files import read_arrays
from model_foundry.data.sources.base import Hash, Reading, Source, no_columns
from model_foundry.data.sources.columnar import read_columnar
from model_foundry.data.sources.compression import opened, unpacked
from model_foundry.data.sources.conllu import read_conllu, read_sentences
from model_foundry.data.sources.fragments import in_text_batches
from model_foundry.data.sources.json_arrays import read_json
from model_foundry.data.sources.json_lines import read_json_lines
from model_foundry.data.sources.paths import (
    COLUMNAR,
    CUT,
    Kind,
    kind_of,
    require_regular,
    resolve_files,
)
from model_foundry.data.sources.records import Records, document_texts
from model_foundry.data.sources.tables import read_table
from model_foundry.data.sources.text import decoded, documents
from model_foundry.data.sources.text_batch import TextBatch
from model_foundry.foundation.messages import printable

VERSION = 1  # incremented when the same bytes give other documents
MOST_NAMED = 3  # patterns in a message

ROWS: dict[str, Callable[[Iterable[str], str, Sequence[str]], Iterator[Records]]] = {
    "json lines": read_json_lines,
    "json": read_json,
    "csv": partial(read_table, delimiter=","),
    "tsv": partial(read_table, delimiter="\t"),
    "conllu": read_sentences,
}


class FileSource(Source):
    """The documents of files, in order; see `open_files`."""

    def __init__(self, name: str, paths: Sequence[Path], reading: Reading) -> None:
        self.name = name
        self.paths = list(paths)
        self.replaced = 0
        """Characters that replace invalid UTF-8 in the last reading."""
        self._reading = reading
        self._kinds = [kind_of(path) for path in paths]

    def batches(self) -> Iterator[TextBatch]:
        """Read every document, in order."""
        self.replaced = 0
        for path, kind in zip(self.paths, self._kinds, strict=True):
            yield from self._batches_of(path, kind)

    def cache_key(self, sha256: Hash) -> Any:
        """Return the content of the files, without their names, and the settings that matter."""
        for path in self.paths:
            require_regular(path)
        pairs = zip(self._kinds, self.paths, strict=True)
        contents = [[*kind, sha256(path)] for kind, path in pairs]
        settings = {"encoding_errors": self._reading.encoding_errors}
        are_cut = [kind.content in CUT for kind in self._kinds]
        if any(are_cut):
            settings["document"] = self._reading.document
        if not all(are_cut):
            settings["text_column"] = self._reading.text_column
        return ["files", VERSION, contents, settings]

    def _note_replaced(self, count: int) -> None:
        self.replaced += count

    def records(self, columns: Sequence[str]) -> Iterator[Records]:
        """Read these columns of each row of all files, in order."""
        self.replaced = 0
        for path, kind in zip(self.paths, self._kinds, strict=True):
            if kind.content not in (*COLUMNAR, *ROWS):
                raise no_columns(printable(path), columns)
            yield from self._records_of(path, kind, columns)

    def _batches_of(self, path: Path, kind: Kind) -> Iterator[TextBatch]:
        where, column = printable(path), self._reading.text_column
        if kind.content not in CUT:
            records = self._records_of(path, kind, [column], are_texts=True)
            yield from map(TextBatch.of, document_texts(records, column))
            return
        with opened(path) as file:
            texts = self._decoded(file, where, kind)
            if kind.content == "conllu":
                yield from in_text_batches(read_conllu(texts, where, self._reading.document))
            else:
                yield from documents(texts, self._reading.document)

    def _records_of(
        self, path: Path, kind: Kind, columns: Sequence[str], *, are_texts: bool = False
    ) -> Iterator[Records]:
        where = printable(path)
        with opened(path) as file:
            if kind.content == "npz":
                yield from read_arrays(file, where, columns)
            elif kind.content in COLUMNAR:
                yield from read_columnar(
                    file,
                    where,
                    columns,
                    content=kind.content,
                    errors=self._reading.encoding_errors,
                    note_replaced=self._note_replaced,
                    are_texts=are_texts,
                )
            else:
                yield from ROWS[kind.content](self._decoded(file, where, kind), where, columns)

    def _decoded(self, file: BinaryIO, where: str, kind: Kind) -> Iterator[str]:
        errors, note = self._reading.encoding_errors, self._note_replaced
        parts = unpacked(file, where, kind.compression)
        return decoded(parts, where, errors=errors, note_replaced=note)


def open_files(patterns: str | Sequence[str], reading: Reading) -> FileSource:
    """Return files as a source; an unknown suffix is text.

    Args:
        patterns: a path, a glob, a folder, or a list of these.

    Raises:
        DataError: a pattern matches no file, or is a folder that `save_to_disk` wrote.
    """
    named = [patterns] if isinstance(patterns, str) else list(patterns)
    more = f", ... ({len(named)} entries)" if len(named) > MOST_NAMED else ""
    name = ", ".join(map(printable, named[:MOST_NAMED])) + more
    return FileSource(name, resolve_files(named), reading)
