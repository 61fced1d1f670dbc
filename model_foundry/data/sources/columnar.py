"""Rows of Parquet and Arrow files: batches of the text column, and no other column."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from model_foundry.data.sources.compression import SizeLimit
from model_foundry.data.sources.fragments import FRAGMENT, Fragment
from model_foundry.data.sources.rows import column_place, text_of
from model_foundry.data.sources.text import REPLACED
from model_foundry.errors import DataError
from model_foundry.foundation.interrupts import check_interrupt
from model_foundry.foundation.messages import reason_of

MOST_ROWS = 256  # at once; a dictionary may make long texts of little on disk
ARROW_MARK = b"ARROW1"  # at the start of a file; a stream has none
STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
COPY_REMEDY = "copy or download it again"
Note = Callable[[int], None]


def _place_of(schema: pa.Schema, where: str, column: str) -> int:
    place = column_place(schema.names, where, column)
    kind = schema.field(place).type
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if not any(test(values) for test in (*tests, pa.types.is_null)):
        name = reason_of(kind)[:80]
        raise DataError(f"{where}: the column {column!r} is of {name}, not text; set text_column")
    return place


def _rows_at_once(metadata: pq.FileMetaData) -> int:
    """Return the number of rows in about a fragment, by the sizes in the file."""
    # sizes of single columns end the process if they are damaged: C++ throws inside pyarrow
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    sizes = [group.total_byte_size / group.num_rows for group in groups if group.num_rows > 0]
    return min(MOST_ROWS, max(1, int(FRAGMENT / max([1.0, *sizes]))))


def _parquet_batches(file: BinaryIO, where: str, column: str) -> Iterator[pa.Array]:
    # threads do not survive a fork, and reading ahead holds whole columns
    parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=FRAGMENT)
    _place_of(parquet.schema_arrow, where, column)
    rows = _rows_at_once(parquet.metadata)
    for batch in parquet.iter_batches(batch_size=rows, columns=[column], use_threads=False):
        yield batch.column(0)


def _arrow_batches(file: BinaryIO, where: str, column: str) -> Iterator[pa.Array]:
    is_stream = file.read(len(ARROW_MARK)) != ARROW_MARK
    reading = pa.ipc.open_stream if is_stream else pa.ipc.open_file
    file.seek(0)
    with reading(file) as reader:
        place = _place_of(reader.schema, where, column)
    only = pa.ipc.IpcReadOptions(included_fields=[place], use_threads=False)
    file.seek(0)
    with reading(file, options=only) as reader:
        numbers = () if is_stream else range(reader.num_record_batches)
        for batch in reader if is_stream else map(reader.get_batch, numbers):
            _refuse_wrong_offsets(batch.column(0))
            yield batch.column(0)
    if is_stream:
        file.seek(-len(STREAM_END), os.SEEK_END)
        if file.read() != STREAM_END:  # the reader takes the end of the file for that of the stream
            raise DataError(f"{where}: a stream without its end mark, so cut off; {COPY_REMEDY}")


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


def _values(
    array: pa.Array, where: str, *, rows: range, errors: str, note_replaced: Note
) -> Iterable[Any]:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        return cast(list[Any], array.to_pylist())
    except UnicodeDecodeError:
        raw = zip(array.cast(pa.large_binary()).to_pylist(), rows, strict=True)
        return (_text(value, f"{where}: row {row}", errors, note_replaced) for value, row in raw)


BATCHES = {"parquet": _parquet_batches, "arrow": _arrow_batches}


def read_columnar(
    file: BinaryIO, where: str, column: str, *, content: str, errors: str, note_replaced: Note
) -> Iterator[Fragment]:
    """Read one document from each row.

    Args:
        column: the text column.
        content: a key of `BATCHES`.
        errors: `data.encoding_errors`; writers of both formats may store other bytes.
        note_replaced: receives the number of characters that replace invalid UTF-8.

    Raises:
        DataError: the file is damaged, there is no such column, or a row has no text.
        Interrupted: a signal arrived.
    """
    row, limit = 1, SizeLimit(file, where, "write its texts to a .txt.gz if this is intended")
    try:
        for batch in BATCHES[content](file, where, column):
            for array in (batch[n : n + MOST_ROWS] for n in range(0, len(batch), MOST_ROWS)):
                check_interrupt()
                rows = range(row, row + len(array))
                values = _values(
                    array, where, rows=rows, errors=errors, note_replaced=note_replaced
                )
                for row, value in zip(rows, values, strict=True):
                    text = text_of(value, f"{where}: row {row}", column)
                    limit.add(len(text))
                    yield Fragment(text)
                row = rows.stop
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        # a name that is not UTF-8, a size beyond all memory
        reason = f"not a complete {content} file ({reason_of(error)})"
        raise DataError(f"{where}: {reason}; {COPY_REMEDY}") from error
