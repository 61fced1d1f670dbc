"""`.json` files: an array of objects or strings, read item by item, or JSON lines.

Memory holds no more of an array than its longest item needs.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from typing import Any

from model_foundry.data.sources.json_lines import (
    DECODER,
    LONGEST_ROW,
    in_records,
    read_json_lines,
    reason_of_fault,
)
from model_foundry.data.sources.records import Records, Row
from model_foundry.errors import DataError

SPACE = re.compile(r"[ \t\n\r]*")
LONGEST_LITERAL = 16  # characters; `-Infinity` and `\u00e9` are shorter


class _Window:
    """The part of a file that is parsed, and the position in it."""

    def __init__(self, texts: Iterator[str], where: str) -> None:
        self._texts, self._where = texts, where
        self._text, self._place = "", 0
        self.line = 1

    def fault(self, reason: str, place: int = 0) -> DataError:
        """Return the error for a place in the text, by default the position."""
        line = self.line + self._text.count("\n", self._place, place)
        law = "it must hold one array of objects or strings, or an object a line"
        return DataError(f"{self._where}: line {line}: not valid JSON ({reason}); {law}")

    def _grow(self) -> bool:
        """Read as much again as is held, so that a long item is parsed few times."""
        held = self._text[self._place :]
        parts, size = [held], 0
        while size <= len(held) and (text := next(self._texts, None)) is not None:
            parts.append(text)
            size += len(text)
        self._text, self._place = "".join(parts), 0
        if size and len(held) > LONGEST_ROW:
            raise self.fault(f"an item is longer than {LONGEST_ROW:,} characters")
        return size > 0

    def _advance(self, place: int) -> None:
        self.line += self._text.count("\n", self._place, place)
        self._place = place

    def mark(self, *, take: str = "") -> str:
        """Skip white space; return the next character, "" at the end, and skip it if in `take`."""
        while True:
            space = SPACE.match(self._text, self._place)
            self._advance(space.end() if space else self._place)
            if self._place < len(self._text):
                found = self._text[self._place]
                self._place += found in take
                return found
            if not self._grow():
                return ""

    def item(self) -> tuple[Any, int]:
        """Parse the value at the position; return it and its number of characters."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._place)
            except (ValueError, RecursionError) as error:
                place = 0
                if isinstance(error, json.JSONDecodeError):
                    place = error.pos
                    is_cut = place > len(self._text) - LONGEST_LITERAL
                    if (is_cut or error.msg.startswith("Unterminated string")) and self._grow():
                        continue
                raise self.fault(reason_of_fault(error), place) from error
            size = end - self._place
            self._advance(end)
            return value, size


def _items(window: _Window) -> Iterator[Row]:
    """Yield the items of an array; the place of each is its number and its first line."""
    window.mark(take="[")
    if window.mark(take="]") != "]":
        for number in count(1):
            window.mark()
            line = window.line
            item, size = window.item()
            yield (number, line), size, item
            if (mark := window.mark(take=",]")) == "]":
                break
            if mark != ",":
                raise window.fault("no comma" if mark else "an array that does not end")
    if window.mark():
        raise window.fault("more than one array")


def read_json(texts: Iterable[str], where: str, columns: Sequence[str]) -> Iterator[Records]:
    """Read the values at these keys in each item of an array, or in each line without an array.

    An item may also be a text, which is then the value of a single column.

    Raises:
        DataError: the file is not valid JSON, or an item lacks a key.
    """
    texts = iter(texts)
    head = ""
    while not head.strip() and (text := next(texts, None)) is not None:
        head += text
    texts = chain([head], texts)
    if not head.lstrip().startswith("["):
        yield from read_json_lines(texts, where, columns)
        return
    rows = _items(_Window(texts, where))
    if len(columns) == 1:
        (key,) = columns
        rows = (
            (place, size, {key: item} if isinstance(item, str) else item)
            for place, size, item in rows
        )
    yield from in_records(rows, columns, where=where, place="item %d on line %d")
