"""Rows of Parquet and Arrow files: batches of the columns that are asked for, and no others."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from model_foundry.data.sources.compression import SizeLimit
from model_foundry.data.sources.fragments import FRAGMENT
from model_foundry.data.sources.records import Column, Records
from model_foundry.data.sources.rows import column_places
from model_foundry.data.sources.text import REPLACED
from model_foundry.errors import DataError
from model_foundry.foundation.interrupts import check_interrupt
from model_foundry.foundation.messages import reason_of

MOST_ROWS = 256  # at once; a dictionary may make long texts of little on disk
ARROW_MARK = b"ARROW1"  # at the start of a file; a stream has none
STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
COPY_REMEDY = "copy or download it again"
Note = Callable[[int], None]


def require_text(schema: pa.Schema, where: str, column: str) -> None:
    """Raise a DataError if a column is of a type without text."""
    kind = schema.field(column).type
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not any(test(values) for test in (*tests, pa.types.is_null)):
        name = reason_of(kind)[:80]
        raise DataError(f"{where}: the column {column!r} is of {name}, not text; set text_column")


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """The columns to read from a file."""

    where: str
    names: Sequence[str]
    are_texts: bool

    def places(self, schema: pa.Schema) -> list[int]:
        """Return the index of each column; raise a DataError for one that cannot be read."""
        places = column_places(schema.names, self.where, self.names)
        if self.are_texts:
            for name in self.names:
                require_text(schema, self.where, name)
        return places


def _rows_at_once(metadata: pq.FileMetaData) -> int:
    """Return the number of rows in about a fragment, by the sizes in the file."""
    # sizes of single columns end the process if they are damaged: C++ throws inside pyarrow
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    sizes = [group.total_byte_size / group.num_rows for group in groups if group.num_rows > 0]
    return min(MOST_ROWS, max(1, int(FRAGMENT / max([1.0, *sizes]))))


def _parquet_batches(file: BinaryIO, columns: _Columns) -> Iterator[pa.RecordBatch]:
    # threads do not survive a fork, and reading ahead holds whole columns
    parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=FRAGMENT)
    columns.places(parquet.schema_arrow)
    rows, names = _rows_at_once(parquet.metadata), list(columns.names)
    yield from parquet.iter_batches(batch_size=rows, columns=names, use_threads=False)


def _arrow_batches(file: BinaryIO, columns: _Columns) -> Iterator[pa.RecordBatch]:
    is_stream = file.read(len(ARROW_MARK)) != ARROW_MARK
    reading = pa.ipc.open_stream if is_stream else pa.ipc.open_file
    file.seek(0)
    with reading(file) as reader:
        places = columns.places(reader.schema)
    only = pa.ipc.IpcReadOptions(included_fields=places, use_threads=False)
    file.seek(0)
    with reading(file, options=only) as reader:
        numbers = () if is_stream else range(reader.num_record_batches)
        for batch in reader if is_stream else map(reader.get_batch, numbers):
            for array in batch.columns:
                _refuse_wrong_offsets(array)
            yield batch
    if is_stream:
        file.seek(-len(STREAM_END), os.SEEK_END)
        if file.read() != STREAM_END:  # the reader takes the end of the file for that of the stream
            law = "a stream without its end mark, so cut off"
            raise DataError(f"{columns.where}: {law}; {COPY_REMEDY}")


def _refuse_wrong_offsets(array: pa.Array) -> None:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in f"{error}":  # checked last; `_text` reports it with its row
            raise


def _text(raw: bytes | None, where: str, errors: str, note_replaced: Note) -> str | None:
    if raw is None:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        if errors == "strict":
            place = f"byte {error.start} (0x{raw[error.start]:02x})"
            remedy = "correct it, or set data.encoding_errors=replace"
            raise DataError(f"{where}: not UTF-8 at {place} of the text; {remedy}") from error
        text = raw.decode(errors=errors)
        note_replaced(text.count(REPLACED) - raw.count(REPLACED.encode()))
        return text


@dataclass(frozen=True, kw_only=True)
class _Values:
    """The conversion of columns to Python."""

    where: str
    errors: str
    note_replaced: Note
    limit: SizeLimit

    def of(self, array: pa.Array, rows: range) -> Column:
        """Return the values of rows with these numbers: an array if all are numbers."""
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if _is_number(array.type) and not array.null_count:
            return cast(Column, array.to_numpy(zero_copy_only=False))
        values = self._listed(array, rows)
        self.limit.add(sum(len(value) for value in values if isinstance(value, str)))
        return values

    def _listed(self, array: pa.Array, rows: range) -> list[Any]:
        try:
            return cast(list[Any], array.to_pylist())
        except UnicodeDecodeError:
            if pa.types.is_nested(array.type):
                raise
            raw = zip(array.cast(pa.large_binary()).to_pylist(), rows, strict=True)
            return [
                _text(value, f"{self.where}: row {row}", self.errors, self.note_replaced)
                for value, row in raw
            ]


def _is_number(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    return any(test(kind) for test in tests)


BATCHES = {"parquet": _parquet_batches, "arrow": _arrow_batches}


def _records(
    batches: Iterator[pa.RecordBatch], values: _Values, columns: Sequence[str]
) -> Iterator[Records]:
    row = 1
    for batch in batches:
        for part in (batch.slice(n, MOST_ROWS) for n in range(0, batch.num_rows, MOST_ROWS)):
            check_interrupt()
            rows = range(row, row + part.num_rows)
            named = {name: values.of(part.column(name), rows) for name in columns}
            yield Records(columns=named, source=values.where, places=rows)
            row = rows.stop


def read_columnar(
    file: BinaryIO,
    where: str,
    columns: Sequence[str],
    *,
    content: str,
    errors: str,
    note_replaced: Note,
    are_texts: bool = False,
) -> Iterator[Records]:
    """Read these columns, and no others; a column of numbers without nulls is an array.

    Args:
        content: a key of `BATCHES`.
        errors: `data.encoding_errors`; writers of both formats may store other bytes.
        note_replaced: receives the number of characters that replace invalid UTF-8.
        are_texts: refuse columns of other types.

    Raises:
        DataError: the file is damaged, or there is no such column.
        Interrupted: a signal arrived.
    """
    limit = SizeLimit(file, where, "write its texts to a .txt.gz if this is intended")
    values = _Values(where=where, errors=errors, note_replaced=note_replaced, limit=limit)
    try:
        asked = _Columns(where=where, names=columns, are_texts=are_texts)
        yield from _records(BATCHES[content](file, asked), values, columns)
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        # a name that is not UTF-8, a size beyond all memory
        reason = f"not a complete {content} file ({reason_of(error)})"
        raise DataError(f"{where}: {reason}; {COPY_REMEDY}") from error
