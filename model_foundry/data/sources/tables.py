"""Rows of CSV and TSV files with a header; fields with a delimiter or newline are quoted."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from model_foundry.data.sources.json_lines import lines_of
from model_foundry.data.sources.records import Records, Row, in_batches
from model_foundry.data.sources.rows import column_places
from model_foundry.errors import DataError
from model_foundry.foundation.messages import reason_of, short_repr

LONGEST_FIELD = 2**25  # characters, at four bytes each in the csv module, twice when it grows
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
QUOTES_REMEDY = "quote a field with a delimiter or newline, and double the quotes in it"


def _rows(texts: Iterable[str], where: str, *, delimiter: str) -> Iterator[Row]:
    """Yield each row with its first line, the header too; skip blank lines."""
    # the limit is global to the process, so a higher limit set elsewhere is kept
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
    lines = (line + "\n" for line in lines_of(texts, where, longest=LONGEST_FIELD))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    first, width = 1, 0
    try:
        for row in reader:
            if row:
                width = width or len(row)
                if len(row) != width:
                    counts = f"has {len(row)} fields, not {width} as the header"
                    raise DataError(f"{where}: line {first}: {counts}; {QUOTES_REMEDY}")
                yield first, sum(map(len, row)), row
            first = reader.line_num + 1
    except csv.Error as error:
        reason = f"not a valid row ({reason_of(error)})"
        raise DataError(f"{where}: line {first}: {reason}; {QUOTES_REMEDY}") from error


def _require_delimiter(
    header: Sequence[str], where: str, columns: Sequence[str], delimiter: str
) -> None:
    """Raise a DataError if a header is a single name, and another delimiter divides it."""
    for other in DELIMITERS if len(header) == 1 and header[0] not in columns else ():
        if other in header[0]:
            law = f"has one column only, {short_repr(header[0])}; its fields stand between"
            wrong, right = DELIMITERS[other], DELIMITERS[delimiter]
            raise DataError(f"{where}: {law} {wrong}, not {right}; write {right} between them")


def read_table(
    texts: Iterable[str], where: str, columns: Sequence[str], *, delimiter: str
) -> Iterator[Records]:
    """Read these columns of each row, as text.

    Raises:
        DataError: there is no such column, or a row has more or fewer fields than the header.
    """
    rows = _rows(texts, where, delimiter=delimiter)
    for _, _, header in islice(rows, 1):
        _require_delimiter(header, where, columns, delimiter)
        places = column_places(header, where, columns)
        yield from in_batches(
            rows, dict(zip(columns, places, strict=True)), source=where, place="line %d"
        )
