"""CSV and TSV: one document a row, and the errors of invalid tables."""

import csv
from pathlib import Path

import pytest

from model_foundry.data.sources import tables
from tests.data.sources.reading import read, refusal, write

TEXTS = ["one", "", 'quo"te, tab\tand\nnewline', "a\u2028b\x85c\x0cd", "ö𝄞", '"', "x" * 200_000]


@pytest.mark.parametrize(("suffix", "dialect"), [("csv", "excel"), ("tsv", "excel-tab")])
def test_each_row_is_a_document(tmp_path: Path, suffix: str, dialect: str) -> None:
    path = tmp_path / f"a.{suffix}"
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # as a spreadsheet writes it
        writer = csv.writer(file, dialect)
        writer.writerow(["id", "text", "more"])
        writer.writerows([number, text, "é"] for number, text in enumerate(TEXTS))
    assert read(path) == TEXTS
    assert read(path, text_column="more") == ["é"] * len(TEXTS)


def test_a_table_may_be_empty_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.csv", "")) == read(write(tmp_path / "b.csv", "text\n")) == []
    assert read(write(tmp_path / "c.csv", "text,b\n\na,1\n\n\nb,2")) == ["a", "b"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("txt,b\n", "has no column data.text_column='text', but txt, b; did you mean 'txt'?"),
        ("a;text\nx;y, z\n", "has one column only, 'a;text'; its fields stand between semicolons,"),
        ("a\ttext\n", "has one column only, 'a\\ttext'; its fields stand between tabs, not comm"),
        ("text,text\n", "has 2 columns 'text'; rename all but one"),
        ('text,b\n"a\nb",1\nc\n', "line 4: has 1 fields, not 2 as the header; quote a field with"),
        ("text,b\na,1\nc,2,3\n", "line 3: has 3 fields, not 2 as the header"),
        (
            'text,b\na,1\n"c,2\nd,3\n',
            "line 3: not a valid row (unexpected end of data); quote a field",
        ),
        ('text,b\n"a" x,1\n', "line 2: not a valid row (',' expected after '\"'); quote a field"),
    ],
)
def test_an_invalid_table_is_reported_with_its_line(
    tmp_path: Path, rows: str, message: str
) -> None:
    assert refusal(write(tmp_path / "bad.csv", rows)).startswith(f"bad.csv: {message}")


def test_a_zero_byte_is_reported_with_its_offset(tmp_path: Path) -> None:
    assert "zero byte at byte 7" in refusal(write(tmp_path / "bad.csv", b"text\na\n\0\n"))


def test_an_unclosed_quote_does_not_read_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = csv.field_size_limit()
    monkeypatch.setattr(tables, "LONGEST_FIELD", 300_000)
    path = write(tmp_path / "bad.csv", 'text\na\n"b\n' + "c\n" * 400_000)
    try:
        csv.field_size_limit(1000)
        assert "line 3: not a valid row (field larger than field limit (300000))" in refusal(path)
    finally:
        csv.field_size_limit(limit)
