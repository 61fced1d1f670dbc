"""JSON lines: an object a line. `json_arrays` reads arrays of objects.

Duplicate keys, invalid numbers and missing texts are errors: other readers silently lose or change
text.
"""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from model_foundry.data.sources.fragments import Fragment
from model_foundry.data.sources.rows import no_column, text_of
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


def text_of_row(row: Any, where: str, column: str) -> str:
    """Return the text of a JSON object; raise a DataError if it is no object or has no text."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: is {short_repr(row)}, not a JSON object with {column!r}")
    if column not in row:
        raise no_column(where, column, list(row))
    return text_of(row[column], where, column)


def read_json_lines(texts: Iterable[str], where: str, column: str) -> Iterator[Fragment]:
    """Read one document from the key `column` of each line; skip blank lines."""
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
        yield Fragment(text_of_row(row, f"{where}: line {number}", column))
