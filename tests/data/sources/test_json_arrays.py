"""`.json` files: one array, read item by item, or an object a line."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_foundry.data.sources import json_arrays
from model_foundry.data.sources.json_arrays import read_json
from model_foundry.data.sources.records import document_texts
from tests.data.sources.reading import read, refusal, write

TEXTS = ["one", "", 'quo"te\\', "]}", "[{,", "ö𝄞", "x" * 100]


def documents(parts: Iterator[str]) -> list[str]:
    found = document_texts(read_json(parts, "a.json", ["text"]), "text")
    return [text for texts in found for text in texts]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
def test_an_array_is_the_same_in_parts_of_any_size(size: int, indent: int | None) -> None:
    draw = random.Random(size)
    rows = [text if draw.random() < 0.5 else {"n": -1.5e3, "text": text} for text in TEXTS]
    content = f" \n{json.dumps(rows, indent=indent, ensure_ascii=size % 2 > 0)}\n"
    parts = (content[n : n + size] for n in range(0, len(content), size))
    assert documents(parts) == TEXTS


def test_a_file_without_an_array_has_an_object_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '\n{"text": "a"}\n{"text": "b"}\n')
    assert read(path) == ["a", "b"]
    assert read(write(path, "[]")) == read(write(path, "")) == read(write(path, "\n")) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[\n{"text": "a"},\n{"text": "b",}]', "line 3: not valid JSON ("),
        ('[\n{"text": "a"}\n', "line 3: not valid JSON (an array that does not end); it must hold"),
        ('["a",\n"b', "line 2: not valid JSON (Unterminated string starting); it must hold one"),
        ('["a",\n', "line 2: not valid JSON (Expecting value)"),
        ('["a",]', "line 1: not valid JSON (Expecting value)"),
        ('["a" "b"]', "line 1: not valid JSON (no comma)"),
        ('["a"]\n["b"]', "line 2: not valid JSON (more than one array)"),
        ('["a",\n\n1]', "item 2 on line 3: is 1, not a JSON object with 'text'"),
        ('["a", null]', "item 2 on line 1: is null, not a JSON object"),
        ('[{"text": null}]', "item 1 on line 1: 'text' is null"),
        ('[{"body": "a"}]', "item 1 on line 1: has no column data.text_column='text', but body"),
        (r'["a\udc00"]', "item 1 on line 1: 'text' has half a surrogate pair"),
        ('[\n{"n": 1e999}]', "line 2: not valid JSON ('1e999' is too large for a number)"),
        ("[" * 100_000, "line 1: not valid JSON (nested too deeply)"),
        ('{"data": [{"text": "a"}]}', "line 1: has no column data.text_column='text', but data"),
        ('{\n  "text": "a"\n}', "line 1: not valid JSON (Expecting property name"),
        ('{"text": ["a", "b"]}', "line 1: 'text' is ['a', 'b'], not text"),
    ],
)
def test_an_invalid_array_is_reported_with_its_line(
    tmp_path: Path, content: str, message: str
) -> None:
    error = refusal(write(tmp_path / "bad.json", content))
    assert error.startswith(f"bad.json: {message}")


def test_an_item_is_not_held_at_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_arrays, "LONGEST_ROW", 100)
    for item, refused in (("x" * 50, False), ("x" * 1000, True)):
        parts = iter(['["', *item, '"]'])
        if refused:
            with pytest.raises(ValueError, match=r"line 1: .*longer than 100 characters"):
                documents(parts)
            assert len(list(parts)) > 500  # it was not read to its end
        else:
            assert documents(parts) == [item]
