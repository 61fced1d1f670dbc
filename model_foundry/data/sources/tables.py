"""Rows of CSV and TSV, with a header; a field that holds its delimiter or a newline is quoted."""

import csv
from collections.abc import Iterable, Iterator

from model_foundry.data.sources.fragments import Fragment
from model_foundry.data.sources.json_lines import lines_of
from model_foundry.data.sources.rows import no_column, text_of
from model_foundry.errors import DataError
from model_foundry.foundation.messages import reason_of

LONGEST_FIELD = (
    2**25
)  # characters, of which the csv module holds four bytes each, twice when it grows
QUOTES_REMEDY = 'a quote that begins a field needs one at its end, and "" within'


def _rows(texts: Iterable[str], where: str, *, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row begins, and its fields; a blank line is no row."""
    # the limit is one for the whole process; another reader of it is never given less than it set
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
    lines = (line + "\n" for line in lines_of(texts, where, longest=LONGEST_FIELD))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    first = 1
    try:
        for row in reader:
            if row:
                yield first, row
            first = reader.line_num + 1
    except csv.Error as error:
        reason = f"not a valid row ({reason_of(error)})"
        raise DataError(f"{where}: line {first}: {reason}; {QUOTES_REMEDY}") from error


def _place_of(header: list[str], where: str, column: str) -> int:
    if column not in header:
        raise no_column(where, column, header)
    if header.count(column) > 1:
        raise DataError(
            f"{where}: has {header.count(column)} columns {column!r}; rename all but one"
        )
    return header.index(column)


def read_table(
    texts: Iterable[str], where: str, column: str, *, delimiter: str
) -> Iterator[Fragment]:
    """Read a document from the column of each row.

    Raises:
        DataError: there is no such column, or a row has more or fewer fields than the header.
    """
    rows = _rows(texts, where, delimiter=delimiter)
    _, header = next(rows, (1, None))
    if header is None:
        return
    place = _place_of(header, where, column)
    for line, row in rows:
        if len(row) != len(header):
            counts = f"has {len(row)} fields, not {len(header)} as the header"
            raise DataError(f"{where}: line {line}: {counts}; {QUOTES_REMEDY}")
        yield Fragment(text_of(row[place], f"{where}: line {line}", column))
