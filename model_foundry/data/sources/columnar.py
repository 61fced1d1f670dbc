"""Rows of Parquet and Arrow files: of the text column, a batch at a time, and no other column."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from model_foundry.data.sources.compression import Unpacking
from model_foundry.data.sources.fragments import FRAGMENT, Fragment
from model_foundry.data.sources.rows import no_column, text_of
from model_foundry.data.sources.text import REPLACED
from model_foundry.errors import DataError
from model_foundry.foundation.interrupts import check_interrupt
from model_foundry.foundation.messages import reason_of

MOST_ROWS = 256  # at once; a dictionary may make long texts of little on disk
ARROW_MARK = b"ARROW1"  # begins a file; a stream has none
STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
COPY_REMEDY = "copy or download it again"
Note = Callable[[int], None]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests) or pa.types.is_null(kind)


def _place_of(schema: pa.Schema, where: str, column: str) -> int:
    places = schema.get_all_field_indices(column)
    if not places:
        raise no_column(where, column, schema.names)
    if len(places) > 1:
        raise DataError(f"{where}: has {len(places)} columns {column!r}; rename all but one")
    kind = schema.field(places[0]).type
    if not _is_text(kind):
        said = reason_of(kind)[:80]
        raise DataError(f"{where}: the column {column!r} is of {said}, not text; set text_column")
    return int(places[0])


def _rows_at_once(metadata: pq.FileMetaData) -> int:
    """Return how many rows come to about a fragment, by the sizes that the file states."""
    # those of single columns end the process where they are damaged: pyarrow lets C++ throw there
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    sizes = [group.total_byte_size / group.num_rows for group in groups if group.num_rows > 0]
    return min(MOST_ROWS, max(1, int(FRAGMENT / max([1.0, *sizes]))))


def _parquet_batches(file: BinaryIO, where: str, column: str) -> Iterator[pa.Array]:
    # neither threads nor reading ahead, which would not survive a fork and hold whole columns
    parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=FRAGMENT)
    _place_of(parquet.schema_arrow, where, column)
    rows = _rows_at_once(parquet.metadata)
    for batch in parquet.iter_batches(batch_size=rows, columns=[column], use_threads=False):
        yield batch.column(0)


def _sound(array: pa.Array) -> pa.Array:
    """Refuse offsets that lead out of the array, which a damaged Arrow file has."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in f"{error}":  # looked at last, and told with its row by `_text`
            raise
    return array


def _arrow_batches(file: BinaryIO, where: str, column: str) -> Iterator[pa.Array]:
    is_stream = file.read(len(ARROW_MARK)) != ARROW_MARK
    file.seek(0)
    with pa.ipc.open_stream(file) if is_stream else pa.ipc.open_file(file) as reader:
        place = _place_of(reader.schema, where, column)
    only = pa.ipc.IpcReadOptions(included_fields=[place], use_threads=False)
    file.seek(0)
    if not is_stream:
        with pa.ipc.open_file(file, options=only) as reader:
            numbers = range(reader.num_record_batches)
            yield from (_sound(reader.get_batch(number).column(0)) for number in numbers)
        return
    with pa.ipc.open_stream(file, options=only) as reader:
        yield from (_sound(batch.column(0)) for batch in reader)
    file.seek(-len(STREAM_END), os.SEEK_END)
    if file.read() != STREAM_END:  # a reader takes the end of the file for the end of the stream
        raise DataError(f"{where}: a stream without its end mark, so cut off; {COPY_REMEDY}")


def _text(raw: bytes | None, where: str, errors: str, note_replaced: Note) -> str | None:
    if raw is None:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        if errors == "strict":
            place = f"byte {error.start} (0x{raw[error.start]:02x})"
            remedy = "mend it, or set data.encoding_errors=replace"
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
    """Read a document from each row.

    Args:
        column: the one that holds the text.
        content: a key of `BATCHES`.
        errors: `data.encoding_errors`; neither format keeps its writer from storing other bytes.
        note_replaced: is told how many characters stand for bytes that are no UTF-8.

    Raises:
        DataError: the file is damaged, there is no such column, or a row has no text.
        Interrupted: a signal came.
    """
    row, unpacking = 1, Unpacking(file, where, "write its texts to a .txt.gz, if it is meant so")
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
                    unpacking.add(len(text))
                    yield Fragment(text)
                row = rows.stop
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        # a name that is not UTF-8, a size that is beyond all memory
        said = f"no whole {content} file ({reason_of(error)})"
        raise DataError(f"{where}: {said}; {COPY_REMEDY}") from error
