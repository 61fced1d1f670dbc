"""Rows of JSON: an object a line. What an array of them is made of, `json_arrays` reads.

Read strictly: a key twice, a number that is none, a missing text are errors, for each of them would
be a text lost or changed in silence.
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
        raise ValueError(f"the key {short_repr(twice)} stands twice in an object")
    return content


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{short_repr(digits)} is beyond every number")
    return number


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_number
)


def fault_of(error: ValueError | RecursionError) -> str:
    """Return what is wrong with what the decoder refuses, without the place."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return error.msg.removesuffix(" at")
    return reason_of(error)


def lines_of(texts: Iterable[str], where: str, *, longest: int) -> Iterator[str]:
    """Yield whole lines without their ends; refuse one that is too long to be a row."""
    parts: list[str] = []
    size, number = 0, 1
    for text, ends in documents(texts, "line"):
        if ends and not parts:
            yield text
            number += 1
            continue
        parts.append(text)
        size += len(text)
        if size > longest:
            law = f"is longer than {longest:,} characters, which a row must not be"
            raise DataError(f"{where}: line {number} {law}; write one row a line")
        if ends:
            yield "".join(parts)
            parts, size, number = [], 0, number + 1


def text_of_row(row: Any, where: str, column: str) -> str:
    """Return the text of a JSON object.

    Raises:
        DataError: it is no object or has no text.
    """
    if not isinstance(row, dict):
        raise DataError(f"{where}: is {short_repr(row)}, no JSON object that has {column!r}")
    if column not in row:
        raise no_column(where, column, list(row))
    return text_of(row[column], where, column)


def read_json_lines(texts: Iterable[str], where: str, column: str) -> Iterator[Fragment]:
    """Read a document from the key `column` of each line; blank lines are skipped.

    Raises:
        DataError: a line is not a JSON object or has no text.
    """
    for number, line in enumerate(lines_of(texts, where, longest=LONGEST_ROW), 1):
        if not line or line.isspace():
            continue
        try:
            row = DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            place = f" at character {error.pos + 1}" if hasattr(error, "pos") else ""
            reason = f"not valid JSON ({fault_of(error)}{place})"
            raise DataError(
                f"{where}: line {number}: {reason}; each line must be a JSON object"
            ) from error
        yield Fragment(text_of_row(row, f"{where}: line {number}", column))
