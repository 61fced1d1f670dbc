"""Records: columns that stay aligned, their typed values, and the place of a wrong one."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_foundry.data.batches.examples import Ragged
from model_foundry.data.sources.records import MOST_ROWS, Records, joined
from model_foundry.errors import DataError
from tests.data.sources.reading import source_of, write

ROWS = [{"de": f"Satz {n}", "en": f"sentence {n}", "n": n} for n in range(2 * MOST_ROWS + 3)]


def records_of(columns: dict[str, Any], **facts: Any) -> Records:
    size = max(len(values) for values in columns.values())
    return Records(columns=columns, source="a.csv", places=range(1, size + 1), **facts)


def refusal(read: Callable[[], Any]) -> str:
    """Return the one-line DataError of a reading."""
    with pytest.raises(DataError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refusal_of(path: Path, *columns: str) -> str:
    return refusal(lambda: list(source_of(path).records(columns))).replace(f"{path.parent}/", "")


def as_csv(folder: Path, *, suffix: str = "csv", mark: str = ",") -> Path:
    lines = [mark.join(map(str, row.values())) for row in ROWS]
    return write(folder / f"a.{suffix}", "\n".join([mark.join(ROWS[0]), *lines]))


def as_parquet(folder: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "a.parquet", row_group_size=1000)
    return folder / "a.parquet"


def as_arrow(folder: Path) -> Path:
    table = pa.Table.from_pylist(ROWS)
    with (
        pa.OSFile(str(folder / "a.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=1000)
    return folder / "a.arrow"


FORMATS: dict[str, Callable[[Path], Path]] = {
    "csv": as_csv,
    "tsv": lambda folder: as_csv(folder, suffix="tsv", mark="\t"),
    "jsonl": lambda folder: write(
        folder / "a.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)
    ),
    "json": lambda folder: write(folder / "a.json", json.dumps(ROWS)),
    "parquet": as_parquet,
    "arrow": as_arrow,
}


@pytest.mark.parametrize("written", FORMATS.values(), ids=FORMATS)
def test_every_format_yields_aligned_columns_in_the_order_asked_for(
    written: Callable[[Path], Path], tmp_path: Path
) -> None:
    found = list(source_of(written(tmp_path)).records(["n", "de"]))
    assert all(list(records.columns) == ["n", "de"] for records in found)
    whole = joined(found)
    assert whole.numbers("n").tolist() == [row["n"] for row in ROWS]
    assert whole.texts("de") == [row["de"] for row in ROWS]
    assert whole.labels("n")[-1] == str(ROWS[-1]["n"])
    assert len(found) > 2
    assert max(map(len, found)) <= MOST_ROWS


def test_numbers_of_a_columnar_file_are_arrays(tmp_path: Path) -> None:
    (numbers,) = {type(r.columns["n"]) for r in source_of(as_parquet(tmp_path)).records(["n"])}
    assert numbers is np.ndarray
    table = pa.table({"n": [1, None, 3]})  # as an array, the null would be a number
    pq.write_table(table, tmp_path / "b.parquet")
    (records,) = source_of(tmp_path / "b.parquet").records(["n"])
    assert "b.parquet: row 2: 'n' is null, not a finite number" in refusal(
        lambda: records.numbers("n")
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "de,eng\n1,2\n", "a.csv: has no column 'en', but de, eng; did you mean 'eng'?"),
        ("a.csv", "de,x\n1,2\n", "a.csv: has no column 'en', but de, x; name one of these"),
        ("a.csv", "de,en,en\n", "a.csv: has 2 columns 'en'; rename all but one"),
        ("a.csv", 'de,en\n"a\nb",c\nd\n', "a.csv: line 4: has 1 fields, not 2 as the header"),
        (
            "a.jsonl",
            '{"de": "a", "en": "b"}\n{"de": "c"}\n',
            "a.jsonl: line 2: has no column 'en', but de; name one of these",
        ),
        ("a.jsonl", '["a", "b"]\n', "line 1: is ['a', 'b'], not a JSON object with 'de', 'en'"),
        ("a.json", '["a", "b"]', "item 1 on line 1: is 'a', not a JSON object with 'de', 'en'"),
        ("a.npy", "a\n", "a.npy: is read as text without columns"),
        ("a.txt", "a\n", "a.txt: is read as text without columns, so it has no 'de', 'en'; nam"),
        ("a.conllu", "", "a.conllu: has no column 'de', but id, form, lemma, upos"),
    ],
)
def test_rows_without_the_columns_are_refused(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    assert message in refusal_of(write(tmp_path / name, content), "de", "en")


def test_the_first_fault_of_a_file_is_reported(tmp_path: Path) -> None:
    good = '{"text": "a"}\n'
    path = write(tmp_path / "a.jsonl", f"{good}" * 3 + '{"body": "b"}\n' + good + "no JSON\n")
    assert "line 4: has no column 'text', but body" in refusal_of(path, "text")
    for wrong in ("no JSON", '{"body": "b"}'):  # the rows before it come first
        path = write(tmp_path / "b.jsonl", good + '{"text": null}\n' + wrong + "\n")
        batches = source_of(path).records(["text"])
        message = refusal(lambda batches=batches: [each.texts("text") for each in batches])  # type: ignore[misc]
        assert "line 2: 'text' is null" in message


def test_the_line_of_a_row_counts_quoted_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'de,en\n"a\nb",c\n\nd,\n')
    (records,) = source_of(path).records(["de", "en"])
    assert refusal(lambda: records.texts("en")).endswith(
        "a.csv: line 5: 'en' is blank; write a text, or remove the row"
    )
    assert records.texts("de") == ["a\nb", "d"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, "is null; remove such rows or correct them"),
        (" \t\n", "is blank; write a text, or remove the row"),
        (3, "is 3, not text"),
        ("a\0", "has a zero character at 1"),
        ("\ud800", "has half a surrogate pair"),
    ],
)
def test_a_value_that_is_no_text_is_refused(value: Any, found: str) -> None:
    records = records_of({"de": ["a", "b", value], "en": ["a", "b", "c"]})
    assert f"a.csv: row 3: 'de' {found}" in refusal(lambda: records.texts("de"))
    assert records.texts("en") == ["a", "b", "c"]


def test_line_ends_are_those_of_text() -> None:
    assert records_of({"a": ["x\r\ny\rz", " u "]}).texts("a") == ["x\ny\nz", " u "]


def test_incomplete_records_are_left_out_whole() -> None:
    columns = {"de": ["a", "", "c", "d"], "en": ["A", "B", None, "D"], "n": np.arange(4)}
    records = records_of(columns)
    kept = records.complete("de", "en")
    assert (kept.texts("de"), kept.texts("en")) == (["a", "d"], ["A", "D"])
    assert kept.numbers("n").tolist() == [0, 3]
    assert kept.where(1) == "a.csv: row 4"
    assert kept.complete("de", "en") is kept
    assert len(records.complete("de")) == 3


def test_columns_of_unequal_length_are_refused() -> None:
    message = refusal(lambda: records_of({"de": ["a", "b"], "en": ["A"]}))
    law = "a.csv: columns of unequal length ('de' 2, 'en' 1); give each row a value in every column"
    assert message == law
    message = refusal(lambda: replace(records_of({"de": ["a", "b"]}), places=[1]))
    assert "columns of another length ('de' 2) than the 1 rows read; give" in message


@pytest.mark.parametrize("value", ["", "x", "nan", "inf", None, True, [1], 10**400, float("nan")])
def test_a_value_that_is_no_finite_number_is_refused(value: Any) -> None:
    records = records_of({"n": [1, "3.5", value]})
    assert "a.csv: row 3: 'n' is " in refusal(lambda: records.numbers("n"))


def test_numbers_are_read_from_text_and_arrays() -> None:
    assert records_of({"n": [Decimal("0.5"), "3.5", " -2e3 "]}).numbers("n").tolist() == [
        *(0.5, 3.5, -2000.0)
    ]
    found = records_of({"n": np.array([1, 2], np.uint8)}).numbers("n")
    assert (found.dtype, found.tolist()) == (np.float64, [1.0, 2.0])
    wrong = records_of({"n": np.array([1, np.inf], np.float32)})
    assert "row 2: 'n' is inf, not a finite number" in refusal(lambda: wrong.numbers("n"))
    images = records_of({"n": np.zeros((2, 3))})
    assert "row 1: 'n' is array([0., 0., 0.]), not a" in refusal(lambda: images.numbers("n"))


def test_labels_are_text_or_integers() -> None:
    assert records_of({"y": ["pos", 3, False]}).labels("y") == ["pos", "3", "false"]
    assert records_of({"y": np.array([0, 1])}).labels("y") == ["0", "1"]
    for value, found in ((None, "null"), (1.0, "1.0, not a label"), (" ", "blank")):
        records = records_of({"y": ["pos", value]})
        message = refusal(lambda records=records: records.labels("y"))  # type: ignore[misc]
        assert f"a.csv: row 2: 'y' is {found}" in message


def test_labels_in_lists_are_text_or_integers() -> None:
    records = records_of({"x": [["a", 3], [], "b, c,", [True]]})
    assert records.label_lists("x") == [["a", "3"], [], ["b", "c"], ["true"]]
    for entry in ("", " "):
        error = refusal(lambda: records_of({"x": [["a"], ["b", entry]]}).label_lists("x"))  # noqa: B023
        assert error.startswith("a.csv: row 2: 'x' has a blank entry, which is no word and no lab")


def test_rows_are_taken_in_any_order_with_their_places() -> None:
    images = np.arange(6).reshape(3, 2)
    taken = records_of({"x": images, "y": ["a", "b", "c"]}).take(np.array([2, 0]))
    assert np.array_equal(taken.columns["x"], images[[2, 0]])
    assert taken.columns["y"] == ["c", "a"]
    assert [taken.where(n) for n in range(2)] == ["a.csv: row 3", "a.csv: row 1"]
    assert len(taken.take(range(0))) == 0
    assert taken.take(range(0)).columns["x"].shape == (0, 2)  # type: ignore[union-attr]


def test_columns_are_selected_by_name() -> None:
    records = records_of({"text": ["a"], "n": [1]})
    assert records.select(["n"]).columns == {"n": [1]}
    message = refusal(lambda: records.select(["n", "txt"]))
    assert message == "a.csv: has no column 'txt', but text, n; did you mean 'text'?"


def test_joined_records_keep_their_places() -> None:
    one = records_of({"n": np.array([1, 2])}, place="line %d")
    two = Records(columns={"n": [None]}, source="b%d.csv", places=[(1, 9)], place="item %d on %d")
    whole = joined([one, two])
    assert whole.columns["n"] == [1, 2, None]
    assert [whole.where(n) for n in (1, 2)] == ["a.csv: line 2", "b%d.csv: item 1 on 9"]


def test_lists_of_one_shape_are_an_array() -> None:
    images = [[[0, 255], [1, 2]], np.array([[3, 4], [5, 6]], np.uint8)]
    found = records_of({"image": images}).arrays("image")
    assert (found.dtype, found.shape, found[1].tolist()) == (
        np.float64,
        (2, 2, 2),
        [[3, 4], [5, 6]],
    )
    stacked = records_of({"image": np.arange(6).reshape(3, 2)}).arrays("image")
    assert stacked.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert records_of({"x": [[Decimal("0.5"), 2]]}).arrays("x").tolist() == [[0.5, 2.0]]


def test_lists_of_numbers_may_differ_in_length() -> None:
    found = records_of({"n": [[1, 2.5], [], [3]]}).number_lists("n")
    assert [row.tolist() for row in found] == [[1.0, 2.5], [], [3.0]]
    points = Ragged.of(records_of({"p": [[], [[1, 2]], [[3, 4], [5, 6]]]}).number_lists("p"))
    assert points.values.shape == (3, 2) and points.lengths.tolist() == [0, 1, 2]


def test_lists_of_texts_may_differ_in_length() -> None:
    rows = [["a\r\n", ""], [], [" "]]
    assert records_of({"words": rows}).text_lists("words") == [["a\n", ""], [], [" "]]


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (None, "is null, not a list of numbers"),
        ("1 2", "is '1 2', not a list of numbers"),
        (7, "is 7, not a list of numbers"),
        ([[1, None]], "has the entry null, which is no finite number"),
        ([[1, True]], "has the entry true, which is no finite number"),
        ([[1, "2"]], "has the entry '2', which is no finite number"),
        ([[1, float("nan")]], "has the entry nan, which is no finite number"),
        (np.array([[1, np.inf]]), "has the entry inf, which is no finite number"),
        ([[1, 10**400]], "which is no finite number"),
        ([[1, 2], [3]], "is [[1, 2], [3]], whose lists differ in shape"),
        ([[1, 2], 3], "is [[1, 2], 3], whose lists differ in shape"),
    ],
)
def test_a_row_that_is_no_list_of_numbers_is_told(row: Any, found: str) -> None:
    records = records_of({"x": [[[1, 2]], [[3, 4]], row]})
    for read in (records.arrays, records.number_lists):
        message = refusal(lambda read=read: read("x"))  # type: ignore[misc]
        assert message.startswith("a.csv: row 3: 'x' ") and found in message
        assert message.endswith("; correct it, or remove the row")


def test_a_list_of_another_shape_is_told_with_the_first_row() -> None:
    rows = records_of({"x": [[[1, 2]], [[1, 2], [3, 4]], [[1, 2, 3]]]})
    message = refusal(lambda: rows.arrays("x"))
    assert "row 2: 'x' has the shape (2, 2), unlike the (1, 2) of a.csv: row 1; " in message
    message = refusal(lambda: rows.number_lists("x"))
    assert "row 3: 'x' has entries of the shape (3,), unlike the (2,) of a.csv: row 1" in message


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (None, "row 2: 'w' is null, not a list of texts; correct it, or remove the row"),
        ("a b", "row 2: 'w' is 'a b', not a list of texts"),
        (["a", None], "row 2: entry 2: 'w' is null; remove such rows or correct them"),
        ([3], "row 2: entry 1: 'w' is 3, not text"),
        ([["a"]], "row 2: entry 1: 'w' is ['a'], not text"),
    ],
)
def test_a_row_that_is_no_list_of_texts_is_told(row: Any, found: str) -> None:
    records = records_of({"w": [["a", "b"], row, ["c"]]})
    assert f"a.csv: {found}" in refusal(lambda: records.text_lists("w"))
