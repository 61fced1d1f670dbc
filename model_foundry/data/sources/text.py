"""UTF-8 text as a stream: decoded, with `\\n` for every line end, and split into documents.

Only `\\n`, `\\r\\n` and `\\r` end a line: not U+2028, U+0085 or a form feed.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np

from model_foundry.data.sources.fragments import FRAGMENT
from model_foundry.data.sources.text_batch import NONE, TextBatch, characters
from model_foundry.errors import DataError
from model_foundry.foundation.interrupts import check_interrupt

# the first bytes of files that are mistaken for text, none of which can begin a text; their format;
# the remedy
MISTAKEN = (
    (rb"\xff\xfe\0\0|\0\0\xfe\xff", "UTF-32", "convert it with `iconv -f utf-32 -t utf-8`"),
    (rb"\xff\xfe|\xfe\xff", "UTF-16", "convert it with `iconv -f utf-16 -t utf-8`"),
    (rb"\x1f\x8b", "compressed by gzip", "give its name the suffix .gz, or unpack it"),
    (rb"\x28\xb5\x2f\xfd", "compressed by zstd", "give its name the suffix .zst, or unpack it"),
    (rb"BZh[1-9]1AY&SY", "compressed by bzip2", "give its name the suffix .bz2, or unpack it"),
    (rb"\xfd7zXZ\0", "compressed by xz", "give its name the suffix .xz, or unpack it"),
    (rb"PAR1\x15", "Parquet", "give its name the suffix .parquet"),
    (rb"ARROW1\0\0|\xff\xff\xff\xff.{3}\0", "Arrow", "give its name the suffix .arrow"),
    (rb"PK\x03\x04", "a ZIP archive", "unpack it"),
    (rb"%PDF-", "PDF", "extract its text"),
)
HEAD = 16  # bytes, enough to recognize all of them
BINARY_REMEDY = "give plain UTF-8 text"
REPLACED = "\ufffd"


def _head(parts: Iterator[bytes], where: str) -> bytes:
    """Take the first bytes of a file; raise a DataError if they belong to another format."""
    head = b""
    while len(head) < HEAD and (part := next(parts, None)) is not None:
        head += part
    for mark, kind, remedy in MISTAKEN:
        if re.match(mark, head, re.DOTALL):
            raise DataError(f"{where}: {kind} at byte 0, not UTF-8 text; {remedy}")
    return head


def _characters(
    parts: Iterator[bytes], where: str, *, errors: str, note_replaced: Callable[[int], None]
) -> Iterator[str]:
    head = _head(parts, where)
    offset, rest = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0, b""
    for part in chain(filter(None, chain([head[offset:]], parts)), [b""]):  # b"": the end
        check_interrupt()
        if (zero := part.find(0)) >= 0:
            place = offset + len(rest) + zero
            raise DataError(f"{where}: binary, with a zero byte at byte {place}; {BINARY_REMEDY}")
        raw = rest + part
        try:
            text, used = codecs.utf_8_decode(raw, errors, not part)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{where}: not UTF-8 at byte {offset + error.start} (0x{raw[error.start]:02x}); "
                f"{BINARY_REMEDY}, such as `iconv -f latin1 -t utf-8` makes, or set "
                "data.encoding_errors=replace"
            ) from error
        if errors == "replace":
            note_replaced(text.count(REPLACED) - raw[:used].count(REPLACED.encode()))
        offset, rest = offset + used, raw[used:]
        yield text


def decoded(
    parts: Iterator[bytes], where: str, *, errors: str, note_replaced: Callable[[int], None]
) -> Iterator[str]:
    """Decode a file without its byte-order mark; every line ends with `\\n`.

    Args:
        parts: the decompressed bytes.
        errors: `data.encoding_errors`.
        note_replaced: receives the number of characters that replace invalid UTF-8.

    Raises:
        DataError: the file is binary or not UTF-8; offsets count decompressed bytes, from 0.
        Interrupted: a signal arrived.
    """
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    for text in _characters(parts, where, errors=errors, note_replaced=note_replaced):
        if text := newlines.decode(text):
            yield text
    if text := newlines.decode("", final=True):
        yield text


# --- documents ------------------------------------------------------------------------------------


def _file(texts: Iterable[str]) -> Iterator[TextBatch]:
    yield from (TextBatch(text, NONE) for text in texts)
    yield TextBatch("", np.zeros(1, np.int64))


def _lines(texts: Iterable[str]) -> Iterator[TextBatch]:
    is_open = False
    for text in texts:
        places = np.flatnonzero(characters(text) == ord("\n"))
        yield TextBatch(text.replace("\n", ""), places - np.arange(len(places)))
        is_open = not text.endswith("\n")
    if is_open:
        yield TextBatch("", np.zeros(1, np.int64))


BLANK_LINES = re.compile(r"\n\s*\n")


def _paragraphs(texts: Iterable[str]) -> Iterator[TextBatch]:
    held, begun = "\n\n", False  # blank lines before the first paragraph belong to none
    for text in texts:
        text = held + text
        body = text.rstrip()  # the next text shows what white space at the end belongs to
        *closed, last = BLANK_LINES.split(body)
        if closed:
            batch = TextBatch.of(closed)
            yield batch if closed[0] or begun else TextBatch(batch.text, batch.ends[1:])
            begun = False
        space = text[len(body) :]
        line = space.rpartition("\n")[2]
        if len(line) >= FRAGMENT and (line == space or not (last or begun)):
            last, space = last + line, ""  # long white space within a line is not held back
        if len(last) >= FRAGMENT:
            yield TextBatch(last, NONE)
            last, begun = "", True
        held = last + BLANK_LINES.sub("\n\n", space)
    body = held.rstrip()
    if body or begun:
        yield TextBatch.of([body + held[len(body) :].partition("\n")[0]])


CUTS = {"file": _file, "line": _lines, "paragraph": _paragraphs}


def documents(texts: Iterable[str], document: str) -> Iterator[TextBatch]:
    """Split the text of a file into documents by `data.document`.

    A paragraph ends at a line of white space.
    """
    return CUTS[document](texts)
