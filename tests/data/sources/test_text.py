"""Text files: decoding, errors with their offset, and documents."""

import gzip
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_foundry.data.sources.fragments import FRAGMENT
from model_foundry.data.sources.text import decoded, documents
from tests.data.corpora import joined
from tests.data.sources.reading import read, refusal, source_of, write

PARTS = (1, 2, 3, 7, 2**20)  # bytes or characters that are read at once


def decode(raw: bytes, size: int = 2**20, *, errors: str = "strict") -> tuple[str, int]:
    """Return the text of a file read in parts, and the number of replaced characters."""
    counts: list[int] = []
    parts = (raw[n : n + size] for n in range(0, len(raw), size))
    texts = decoded(parts, "a.txt", errors=errors, note_replaced=counts.append)
    return "".join(texts), sum(counts)


def cut(text: str, document: str, size: int = 2**20) -> list[str]:
    parts = (text[n : n + size] for n in range(0, len(text), size))
    return joined(documents(parts, document))


# --- what is text ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"good\nb\xffd", "not UTF-8 at byte 6 (0xff); give plain UTF-8 text, such as `iconv"),
        (b"caf\xe9", "not UTF-8 at byte 3 (0xe9)"),
        (b"cut \xe2\x82", "not UTF-8 at byte 4 (0xe2)"),
        (b"surrogate \xed\xa0\x80", "not UTF-8 at byte 10 (0xed)"),
        (b"\xef\xbb\xbfmark \xff", "not UTF-8 at byte 8 (0xff)"),
        (b"\xc3\xa4" * FRAGMENT + b"\xff", f"not UTF-8 at byte {2 * FRAGMENT} (0xff)"),
        (b"zero\0byte", "binary, with a zero byte at byte 4"),
        (b"\xef\xbb\xbf\0", "binary, with a zero byte at byte 3"),
        (b"a" + b"\xc3\xa4" * FRAGMENT + b"\0", f"a zero byte at byte {2 * FRAGMENT + 1}"),
        ("wide".encode("utf-16"), "UTF-16 at byte 0, not UTF-8 text; convert it with `iconv"),
        ("wide".encode("utf-32"), "UTF-32 at byte 0"),
        ("wide".encode("utf-16-le"), "binary, with a zero byte at byte 1"),
        (gzip.compress(b"text", mtime=0), "compressed by gzip at byte 0"),
        (b"PK\x03\x04\x14", "a ZIP archive at byte 0, not UTF-8 text; unpack it"),
        (b"PAR1\x15\x04", "Parquet at byte 0, not UTF-8 text; give its name the suffix .parquet"),
    ],
)
def test_binary_and_invalid_text_is_reported_with_its_offset(
    tmp_path: Path, raw: bytes, message: str
) -> None:
    error = refusal(write(tmp_path / "bad.txt", raw))
    assert error.startswith("bad.txt: ") and message in error
    packed = refusal(write(tmp_path / "bad.txt.gz", gzip.compress(raw)))
    assert message in packed  # the offset is that in the unpacked text


@pytest.mark.parametrize("size", PARTS)
def test_the_line_ends_of_all_systems_give_one_text(size: int) -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        raw = b"\xef\xbb\xbf" + end.join([b"a", b"", "ö\ufeff€𝄞".encode(), b""])
        assert decode(raw, size) == ("a\n\nö\ufeff€𝄞\n", 0)


@pytest.mark.parametrize("size", PARTS)
def test_replaced_bytes_are_counted(size: int) -> None:
    raw = b"caf\xe9 \xef\xbf\xbd \xf0\x9f\xef\xbf\xbd cut \xe2\x82"
    assert decode(raw, size, errors="replace") == (raw.decode(errors="replace"), 3)
    assert decode(b"\xef\xbf\xbd", size, errors="replace") == ("\ufffd", 0)


def test_a_source_reports_what_was_replaced(tmp_path: Path) -> None:
    source = source_of(write(tmp_path / "a.txt", b"caf\xe9s"), encoding_errors="replace")
    for _ in range(2):
        assert joined(source.batches()) == ["caf\ufffds"]
        assert source.replaced == 1
    wide = write(tmp_path / "b.txt", "wide".encode("utf-16"))
    assert "UTF-16" in refusal(wide, encoding_errors="replace")


# --- documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("file", ["a\nb\n\n \nc\n"]),
        ("line", ["a", "b", "", " ", "c"]),
        ("paragraph", ["a\nb", "c"]),
    ],
)
def test_a_text_is_cut_into_documents(kind: str, found: list[str]) -> None:
    assert cut("a\nb\n\n \nc\n", kind) == found
    assert cut("", kind) == ([""] if kind == "file" else [])


def test_nothing_but_a_newline_ends_a_line() -> None:
    text = "a\u2028b\x0cc\x85d\x1ce\u2029f\x0bg"
    assert cut(f"{text}\nh", "line") == [text, "h"]
    assert cut(f"{text}\n\x85\u2028\nh", "paragraph") == [text, "h"]


def by_lines(text: str) -> Iterator[str]:
    """Split paragraphs by their definition, a line at a time."""
    paragraph: list[str] = []
    for line in [*text.split("\n"), ""]:
        if line and not line.isspace():
            paragraph.append(line)
        elif paragraph:
            yield "\n".join(paragraph)
            paragraph = []


def test_documents_do_not_depend_on_the_parts_of_a_file() -> None:
    draw = random.Random(0)
    for _ in range(1000):
        text = "".join(
            draw.choices("ab \n\t\u2028", weights=(3, 3, 2, 5, 1, 1), k=draw.randrange(30))
        )
        lines = text.split("\n")
        for size in PARTS:
            assert cut(text, "file", size) == [text]
            assert cut(text, "line", size) == (lines if lines[-1] else lines[:-1])
            assert cut(text, "paragraph", size) == list(by_lines(text)), (text, size)


@pytest.mark.parametrize("kind", ["file", "line", "paragraph"])
def test_a_long_document_comes_in_several_batches(kind: str) -> None:
    word = "word " * (FRAGMENT // 5)
    batches = list(documents(iter([word] * 4 + ["end\n\nnext"]), kind))
    assert len(batches) >= 3
    assert max(len(text) for text, _ in batches) <= 2 * FRAGMENT
    assert "".join(text for text, _ in batches).startswith(word * 4 + "end")
    assert [len(ends) for _, ends in batches[:2]] == [0, 0]


def test_a_long_line_may_end_with_a_batch() -> None:
    line = "x" * FRAGMENT
    batches = [(text, ends.tolist()) for text, ends in documents(iter([line]), "line")]
    assert batches == [(line, []), ("", [0])]
    assert cut(f"{line}\n{line}", "line") == [line, line]
    assert cut(f"{line}\n\n{line}\n", "paragraph", FRAGMENT) == [line, line]
    assert cut(f"{line}  \n", "paragraph", FRAGMENT) == [f"{line}  "]


def test_a_million_empty_lines_are_no_document_but_a_million_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"\n" * 10**6 + b"end")
    assert read(path, document="paragraph") == ["end"]
    batches = source_of(path, document="line").batches()
    assert sum(len(ends) for _, ends in batches) == 10**6 + 1
