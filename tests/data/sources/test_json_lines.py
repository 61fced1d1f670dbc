"""JSON lines: one document a row, and the errors of invalid rows."""

import json
from pathlib import Path

import pytest

from model_foundry.data.sources import json_lines
from model_foundry.data.sources.fragments import FRAGMENT
from model_foundry.errors import DataError
from tests.data.sources.reading import read, refusal, write

GOOD = '{"text": "one"}\n'


def test_each_object_is_a_document(tmp_path: Path) -> None:
    rows = ["one\ntwo", "", "a\u2028b\x85c", "𝄞 \ufeff", "x\r\ny\rz"]
    lines = [
        json.dumps({"n": 1, "text": text}, ensure_ascii=n % 2 > 0) for n, text in enumerate(rows)
    ]
    path = write(tmp_path / "a.jsonl", "\ufeff" + "\r\n".join([*lines, "", " ", ""]))
    assert read(path) == [*rows[:-1], "x\ny\nz"]  # newlines as in a text file
    assert read(write(tmp_path / "b.jsonl", '{"body": "b"}'), text_column="body") == ["b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"text": \n',
            "not valid JSON (Expecting value at character 10); each line must be a JSON",
        ),
        ('{"text": "a"} x', "not valid JSON (Extra data at character 15)"),
        ("{'text': 'a'}", "not valid JSON (Expecting property name enclosed in double quotes at"),
        ('{"text": "a\tb"}', "not valid JSON (Invalid control character at character 12)"),
        ('{"text": null}', "'text' is null; remove such rows or correct them"),
        ('{"text": 1}', "'text' is 1, not text"),
        ('{"text": ["a"]}', "'text' is ['a'], not text"),
        ('{"texts": "a", "b": 1}', "no column data.text_column='text', but texts, b; did you mean"),
        ("{}", "has no column data.text_column='text', but none"),
        ('"text"', "is 'text', not a JSON object with 'text'"),
        ("[1]", "is [1], not a JSON object with 'text'"),
        ('{"text": "a", "text": "b"}', "(the key 'text' is twice in an object)"),
        ('{"text": "a", "n": {"m": 1, "m": 1}}', "(the key 'm' is twice in an object)"),
        ('{"text": "a", "n": 1e999}', "not valid JSON ('1e999' is too large for a number)"),
        ('{"text": "a", "n": NaN}', "not valid JSON (NaN is not a number in JSON)"),
        ('{"text": "a", "n": -Infinity}', "not valid JSON (-Infinity is not a number in JSON)"),
        (r'{"text": "a\ud800"}', r"'text' has half a surrogate pair (\ud800) at 1"),
        (r'{"text": "a\u0000"}', "'text' has a zero character at 1; remove it"),
        ('{"text": ' + "[" * 100_000, "not valid JSON (nested too deeply)"),
        (
            '{"text": "a", "n": ' + "1" * 5000 + "}",
            "not valid JSON (Exceeds the limit (4300 digits)",
        ),
    ],
)
def test_an_invalid_row_is_reported_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    error = refusal(write(tmp_path / "bad.jsonl", f"{GOOD}\n{GOOD}{line}"))
    assert error.startswith("bad.jsonl: line 4: ")
    assert message in error


def test_a_row_is_not_held_at_any_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LONGEST_ROW", 100)
    assert read(write(tmp_path / "a.jsonl", GOOD * 100)) == ["one"] * 100
    error = refusal(write(tmp_path / "a.jsonl", GOOD + " " * 2**21))
    assert "line 2 is longer than 100 characters, the limit for a row; write one row" in error


def test_long_lines_are_counted_as_well() -> None:
    texts = iter(["x" * FRAGMENT, "\n", "y" * FRAGMENT, "y" * FRAGMENT])
    lines = json_lines.lines_of(texts, "a.jsonl", longest=FRAGMENT + 1)
    assert next(lines) == "x" * FRAGMENT
    with pytest.raises(DataError, match=r"a\.jsonl: line 2 is longer than"):
        next(lines)
