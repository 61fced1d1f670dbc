"""Treebanks in CoNLL-U, the format of Universal Dependencies: their text, or their columns.

A sentence is its `# text`, or else the words of its column FORM; a paragraph begins at a sentence
with `# newpar` or `# newdoc`. https://universaldependencies.org/format.html
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product, takewhile

from model_foundry.data.sources.fragments import Fragment
from model_foundry.data.sources.json_lines import lines_of
from model_foundry.data.sources.records import Records, in_batches
from model_foundry.data.sources.rows import column_places
from model_foundry.errors import DataError

LONGEST_SENTENCE = 2**24  # characters with all its columns; a sentence is held in memory
NAMES = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
COLUMNS = len(NAMES)
ID = re.compile(r"[0-9]{1,9}(?:([-.])([0-9]{1,9}))?")  # a word, 3-4 a token of several, 5.1 empty
TEXT = re.compile(r"#\s*text\s*=(.*)")
BEGINS = re.compile(r"#\s*new(?:doc|par)(?:\s|$)")  # with or without an id
BLOCK_REMEDY = "end each sentence with an empty line"
LABELS = ("upos", "xpos", "head", "deprel")  # where _ stands for a word that nobody annotated


def _blocks(texts: Iterable[str], where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines between blank lines, with the number of the first one."""
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


def _parts(block: list[str], where: str, first: int) -> tuple[list[str], list[list[str]]]:
    """Return the comments of a sentence and the columns of each line below them."""
    comments = list(takewhile(lambda line: line.startswith("#"), block))
    lines = enumerate(block[len(comments) :], first + len(comments))
    rows = [_columns(line, f"{where}: line {number}") for number, line in lines]
    _require_one_sentence([row[0] for row in rows], where, first + len(comments))
    return comments, rows


def _require_one_sentence(ids: list[str], where: str, first: int) -> None:
    """Require the numbers 1, 2, 3 of words; without an empty line they begin again."""
    expected = 1
    for line, number in enumerate(ids, first):
        if number.isdigit():
            if int(number) != expected:
                law = f"the word has the number {number} instead of {expected}"
                remedy = f"{BLOCK_REMEDY}, and number its words from 1"
                raise DataError(f"{where}: line {line}: {law}; {remedy}")
            expected += 1


def _columns(line: str, place: str) -> list[str]:
    columns = line.split("\t")
    if line.startswith("#"):  # without an empty line the previous sentence would be lost
        raise DataError(f"{place}: is a comment below the words of a sentence; {BLOCK_REMEDY}")
    if len(columns) != COLUMNS:
        law = f"not CoNLL-U, which has {COLUMNS} columns separated by tabs, not {len(columns)}"
        raise DataError(f"{place}: {law}; correct it, or name a file of plain text .txt")
    if not ID.fullmatch(columns[0]):
        law = "does not begin with the number of a word, such as 3, 3-4 or 5.1"
        raise DataError(f"{place}: {law}; correct it, or begin a comment with #")
    if not columns[1]:
        raise DataError(f"{place}: the column FORM is empty; correct the line")
    return columns


def _surface(rows: Iterable[list[str]]) -> str:
    """Join the surface tokens: 3-4 replaces its words, and empty nodes such as 5.1 have none."""
    parts: list[str] = []
    last = 0  # last word of the latest token of several words
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


def _sentences(texts: Iterable[str], where: str) -> Iterator[tuple[str, bool]]:
    """Yield the text of each sentence, and whether a paragraph or document begins with it."""
    begins = False  # a block of comments may precede the first sentence of a paragraph
    for first, block in _blocks(texts, where):
        comments, rows = _parts(block, where, first)
        begins = begins or any(map(BEGINS.match, comments))
        text = _given_text(comments, where, first) or _surface(rows)
        if text:
            yield text, begins
            begins = False


def read_sentences(texts: Iterable[str], where: str, columns: Sequence[str]) -> Iterator[Records]:
    """Read columns of a treebank: lists with a text for each word, a row for each sentence.

    Tokens of several words (3-4) and empty nodes (5.1) are left out.

    Args:
        columns: some of `NAMES`.

    Raises:
        DataError: there is no such column, a line is no word with its ten columns, or a word is not
            annotated (`_`) in one of `LABELS` that is read.
    """
    places = column_places(NAMES, where, columns)
    labels = [column for column in columns if column in LABELS]
    rows = (
        (first, sum(map(len, block)), _words(block, where, first, labels))
        for first, block in _blocks(texts, where)
    )
    full = (row for row in rows if row[2])
    taken = (
        (first, size, [[word[place] for word in words] for place in places])
        for first, size, words in full
    )
    indices = {name: index for index, name in enumerate(columns)}
    yield from in_batches(taken, indices, source=where, place="line %d")


def _words(block: list[str], where: str, first: int, labels: list[str]) -> list[list[str]]:
    """Return the columns of each word, which must have these labels."""
    comments, rows = _parts(block, where, first)
    words = [(n, row) for n, row in enumerate(rows, first + len(comments)) if row[0].isdigit()]
    for (number, row), label in product(words, labels):
        if row[NAMES.index(label)] == "_":
            law = f"{label!r} is _, so the word is not annotated"
            remedy = "annotate it, remove the sentence, or name another column"
            raise DataError(f"{where}: line {number}: {law}; {remedy}")
    return [row for _, row in words]


def read_conllu(texts: Iterable[str], where: str, document: str) -> Iterator[Fragment]:
    """Read the text of a treebank: one sentence a line, a blank line between paragraphs.

    Args:
        document: `data.document`; a line is a sentence.

    Raises:
        DataError: a line is not blank, a comment or a word with its ten columns.
    """
    held = ""  # the next sentence shows whether the document ends with it
    for text, begins in _sentences(texts, where):
        ends = document == "line" or (document == "paragraph" and begins)
        if held:
            yield Fragment(held, ends)
        gap = "\n\n" if begins else "\n"
        held = text if ends or not held else gap + text
    if held:
        yield Fragment(held)
