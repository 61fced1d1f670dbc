"""Rows of CSV and TSV files with a header; fields with a delimiter or newline are quoted."""

import csv
from collections.abc import Iterable, Iterator

from model_foundry.data.sources.fragments import Fragment
from model_foundry.data.sources.json_lines import lines_of
from model_foundry.data.sources.rows import column_place, text_of
from model_foundry.errors import DataError
from model_foundry.foundation.messages import reason_of

LONGEST_FIELD = 2**25  # characters, at four bytes each in the csv module, twice when it grows
QUOTES_REMEDY = "quote a field with a delimiter or newline, and double the quotes in it"


def _rows(texts: Iterable[str], where: str, *, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line of each row, and its fields; skip blank lines."""
    # the limit is global to the process, so a higher limit set elsewhere is kept
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


def read_table(
    texts: Iterable[str], where: str, column: str, *, delimiter: str
) -> Iterator[Fragment]:
    """Read one document from the column of each row.

    Raises:
        DataError: there is no such column, or a row has more or fewer fields than the header.
    """
    rows = _rows(texts, where, delimiter=delimiter)
    _, header = next(rows, (1, None))
    if header is None:
        return
    place = column_place(header, where, column)
    for line, row in rows:
        if len(row) != len(header):
            counts = f"has {len(row)} fields, not {len(header)} as the header"
            raise DataError(f"{where}: line {line}: {counts}; {QUOTES_REMEDY}")
        yield Fragment(text_of(row[place], f"{where}: line {line}", column))
