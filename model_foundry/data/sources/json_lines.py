"""JSON lines: an object a line. `json_arrays` reads arrays of objects.

Duplicate keys, invalid numbers and missing texts are errors: other readers silently lose or change
text.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from model_foundry.data.sources.records import Records, Row, in_batches
from model_foundry.data.sources.rows import no_column
from model_foundry.data.sources.text import documents
from model_foundry.errors import DataError
from model_foundry.foundation.messages import reason_of, short_repr

LONGEST_ROW = 2**28  # characters; a row is held in memory


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {short_repr(twice)} is twice in an object")
    return content


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{short_repr(digits)} is too large for a number")
    return number


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_number
)


def reason_of_fault(error: ValueError | RecursionError) -> str:
    """Return the reason of an error of the decoder, without the place."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return error.msg.removesuffix(" at")
    return reason_of(error)


def lines_of(texts: Iterable[str], where: str, *, longest: int) -> Iterator[str]:
    """Yield lines without their ends; raise a DataError for one that is too long for a row."""
    parts: list[str] = []
    size, number = 0, 1
    batches = documents(texts, "line")
    for text, ends in (part for batch in batches for part in batch.each()):
        if ends and not parts:
            yield text
            number += 1
            continue
        parts.append(text)
        size += len(text)
        if size > longest:
            law = f"is longer than {longest:,} characters, the limit for a row"
            raise DataError(f"{where}: line {number} {law}; write one row a line")
        if ends:
            yield "".join(parts)
            parts, size, number = [], 0, number + 1


def in_records(
    rows: Iterator[Row], columns: Sequence[str], *, where: str, place: str
) -> Iterator[Records]:
    """Gather the values at these keys of JSON objects.

    Raises:
        DataError: a value is no object, or lacks a key.
    """

    def fault_of(row: Any, where: str) -> DataError | None:
        if not isinstance(row, dict):
            keys = ", ".join(map(repr, columns))
            return DataError(f"{where}: is {short_repr(row)}, not a JSON object with {keys}")
        missing = [key for key in columns if key not in row]
        return no_column(where, missing[0], list(row)) if missing else None

    keys = {column: column for column in columns}
    return in_batches(rows, keys, source=where, place=place, fault_of=fault_of)


def _rows(texts: Iterable[str], where: str) -> Iterator[Row]:
    for number, line in enumerate(lines_of(texts, where, longest=LONGEST_ROW), 1):
        if not line or line.isspace():
            continue
        try:
            row = DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            place = f" at character {error.pos + 1}" if hasattr(error, "pos") else ""
            reason = f"not valid JSON ({reason_of_fault(error)}{place})"
            raise DataError(
                f"{where}: line {number}: {reason}; each line must be a JSON object"
            ) from error
        yield number, len(line), row


def read_json_lines(texts: Iterable[str], where: str, columns: Sequence[str]) -> Iterator[Records]:
    """Read the values at these keys in each line; skip blank lines.

    Raises:
        DataError: a line is no JSON object, or lacks a key.
    """
    return in_records(_rows(texts, where), columns, where=where, place="line %d")
