"""Treebanks in CoNLL-U, the format of Universal Dependencies: their text, without the analyses.

A sentence is its `# text`, or else the words of its column FORM; a paragraph begins where a
sentence says `# newpar` or `# newdoc`. https://universaldependencies.org/format.html
"""

import re
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import NamedTuple

from model_foundry.data.sources.fragments import Fragment
from model_foundry.data.sources.json_lines import lines_of
from model_foundry.errors import DataError

LONGEST_SENTENCE = 2**24  # characters with all its columns; a sentence is held in memory
COLUMNS = 10
ID = re.compile(r"[0-9]{1,9}(?:([-.])([0-9]{1,9}))?")  # a word, 3-4 a token of several, 5.1 empty
TEXT = re.compile(r"#\s*text\s*=(.*)")
BEGINS = re.compile(r"#\s*new(?:doc|par)(?:\s|$)")  # with or without an id
BLOCK_REMEDY = "end each sentence with an empty line"


class Sentence(NamedTuple):
    """A sentence of a treebank."""

    text: str
    begins: bool
    """True if a paragraph or a document begins with it."""


def _blocks(texts: Iterable[str], where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines between blank ones, with the number of the first."""
    block: list[str] = []
    size = 0
    for number, line in enumerate(lines_of(texts, where, longest=LONGEST_SENTENCE), 1):
        if line and not line.isspace():
            block.append(line)
            size += len(line)
        elif block:
            yield number - len(block), block
            block, size = [], 0
        if size > LONGEST_SENTENCE:
            law = f"a sentence is longer than {LONGEST_SENTENCE:,} characters"
            raise DataError(f"{where}: line {number}: {law}; {BLOCK_REMEDY}")
    if block:
        yield number + 1 - len(block), block


def _columns(line: str, place: str) -> list[str]:
    columns = line.split("\t")
    if line.startswith("#"):  # where the empty line is missing, the sentence before would be lost
        raise DataError(f"{place}: is a comment below the words of a sentence; {BLOCK_REMEDY}")
    if len(columns) != COLUMNS:
        law = f"is no line of CoNLL-U: {COLUMNS} columns between tabs, not {len(columns)}"
        raise DataError(f"{place}: {law}; mend it, or name a file of plain text .txt")
    if not ID.fullmatch(columns[0]):
        law = "begins with no number of a word, such as 3, 3-4 or 5.1"
        raise DataError(f"{place}: {law}; mend the line, or begin a comment with #")
    if not columns[1]:
        raise DataError(f"{place}: the column FORM is empty; mend the line")
    return columns


def _surface(rows: Iterable[list[str]]) -> str:
    """Join what is written: a token such as 3-4 stands for its words, and 5.1 was never written."""
    parts: list[str] = []
    last = 0  # word of the latest token of several
    for number, form, *_, misc in rows:
        first, sign, end = re.split("([-.])", number) if not number.isdigit() else (number, "", "")
        if sign == "." or (not sign and int(first) <= last):
            continue
        last = int(end) if sign else last
        parts += [form, "" if "SpaceAfter=No" in misc.split("|") else " "]
    return "".join(parts).strip()


def _given_text(comments: list[str], where: str, first: int) -> str:
    given = [
        (number, match[1].strip())
        for number, line in enumerate(comments, first)
        if (match := TEXT.match(line))
    ]
    if len(given) > 1:
        law = "is the second '# text' of a sentence"
        raise DataError(f"{where}: line {given[1][0]}: {law}; {BLOCK_REMEDY}")
    return given[0][1] if given else ""


def _sentences(texts: Iterable[str], where: str) -> Iterator[Sentence]:
    begins = False  # a head of comments alone may stand above the first sentence of a paragraph
    for first, block in _blocks(texts, where):
        comments = list(takewhile(lambda line: line.startswith("#"), block))
        words = enumerate(block[len(comments) :], first + len(comments))
        rows = [_columns(line, f"{where}: line {number}") for number, line in words]
        begins = begins or any(map(BEGINS.match, comments))
        text = _given_text(comments, where, first) or _surface(rows)
        if text:
            yield Sentence(text, begins)
            begins = False


def read_conllu(texts: Iterable[str], where: str, document: str) -> Iterator[Fragment]:
    """Read the text of a treebank: a sentence a line, a blank line between two paragraphs.

    Args:
        document: `data.document`; a line is a sentence.

    Raises:
        DataError: a line is neither blank, nor a comment, nor a word with its ten columns.
    """
    held = ""  # whether the document ends with it, the next sentence tells
    for text, begins in _sentences(texts, where):
        ends = document == "line" or (document == "paragraph" and begins)
        if held:
            yield Fragment(held, ends)
        gap = "\n\n" if begins else "\n"
        held = text if ends or not held else gap + text
    if held:
        yield Fragment(held)
