"""A `.json` file: one array of objects or strings, read item by item; or else JSON lines.

Of the array no more is held in memory than its longest item needs.
"""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from model_foundry.data.sources.fragments import Fragment
from model_foundry.data.sources.json_lines import (
    DECODER,
    LONGEST_ROW,
    fault_of,
    read_json_lines,
    text_of_row,
)
from model_foundry.data.sources.rows import text_of
from model_foundry.errors import DataError

SPACE = re.compile(r"[ \t\n\r]*")
LONGEST_LITERAL = 16  # characters; `-Infinity` and `\u00e9` are shorter


class _Window:
    """The stretch of a file that is being read."""

    def __init__(self, texts: Iterator[str], where: str) -> None:
        self._texts, self._where = texts, where
        self._text, self._place, self._line = "", 0, 1

    def fault(self, reason: str, place: int | None = None) -> DataError:
        """Return the error for what stands at a place; None: the one that was reached."""
        end = self._place if place is None else place
        line = self._line + self._text.count("\n", self._place, end)
        law = "it must hold one array of objects or strings, or an object a line"
        return DataError(f"{self._where}: line {line}: not valid JSON ({reason}); {law}")

    @property
    def line(self) -> int:
        """Number of the line that was reached, from 1."""
        return self._line

    def _grow(self) -> bool:
        """Read on, as much as there is already, so that a long item is not parsed too often."""
        parts = [self._text[self._place :]]
        size, most = 0, len(parts[0])
        while size <= most and (text := next(self._texts, None)) is not None:
            parts.append(text)
            size += len(text)
        self._text, self._place = "".join(parts), 0
        if size and most > LONGEST_ROW:
            raise self.fault(f"an item is longer than {LONGEST_ROW:,} characters")
        return size > 0

    def _advance(self, place: int) -> None:
        self._line += self._text.count("\n", self._place, place)
        self._place = place

    def mark(self, *, take: str = "") -> str:
        """Return the next character that is no white space, "" at the end.

        Args:
            take: characters that are passed over if it is one of them.
        """
        while True:
            space = SPACE.match(self._text, self._place)
            self._advance(space.end() if space else self._place)
            if self._place < len(self._text):
                found = self._text[self._place]
                self._place += found in take
                return found
            if not self._grow():
                return ""

    def item(self) -> Any:
        """Read a value."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                at_end = error.pos > len(self._text) - LONGEST_LITERAL
                cut_off = at_end or error.msg.startswith("Unterminated string")
                if cut_off and self._grow():
                    continue
                raise self.fault(fault_of(error), error.pos) from error
            except (ValueError, RecursionError) as error:
                raise self.fault(fault_of(error)) from error
            self._advance(end)
            return value


def _items(window: _Window) -> Iterator[tuple[int, Any]]:
    """Yield the line on which each item of the array begins, and the item."""
    window.mark(take="[")
    if window.mark(take="]") != "]":
        while True:
            window.mark()
            yield window.line, window.item()
            if (mark := window.mark(take=",]")) == "]":
                break
            if mark != ",":
                raise window.fault("an array that does not end" if not mark else "no comma")
    if window.mark():
        raise window.fault("more than one array")


def read_json(texts: Iterable[str], where: str, column: str) -> Iterator[Fragment]:
    """Read a document from each item of an array, or from each line where there is no array.

    Args:
        column: the key of the text in an object.

    Raises:
        DataError: it is no valid JSON, or an item has no text.
    """
    texts = iter(texts)
    head = ""
    while not head.strip() and (text := next(texts, None)) is not None:
        head += text
    texts = chain([head], texts)
    if not head.lstrip().startswith("["):
        yield from read_json_lines(texts, where, column)
        return
    for number, (line, item) in enumerate(_items(_Window(texts, where)), 1):
        place = f"{where}: item {number} on line {line}"
        is_text = isinstance(item, str)
        text = text_of(item, place, column) if is_text else text_of_row(item, place, column)
        yield Fragment(text)
