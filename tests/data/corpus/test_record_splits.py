"""Train, validation and test records: the draws of documents, mixtures, and aligned columns."""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from model_foundry.config import SOURCES, DataConfig
from model_foundry.data.corpus import record_splits
from model_foundry.data.corpus.record_corpus import RecordSource
from model_foundry.data.corpus.record_splits import RecordSplit, open_record_splits
from model_foundry.data.corpus.splits import open_splits
from model_foundry.data.sources.base import Hash, Reading
from model_foundry.data.sources.images import pixels_of
from model_foundry.data.sources.records import Records
from model_foundry.data.sources.registration import register_source
from model_foundry.data.sources.row_source import RowSource
from model_foundry.errors import DataError
from tests.data.corpora import texts_of


def rows_file(folder: Path, name: str, number: int, *, start: int = 0) -> str:
    """Write aligned rows, and return the path of the file."""
    rows = ({"text": f"{name} {n}", "n": n} for n in range(start, start + number))
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(split: RecordSplit) -> list[str]:
    """Return the texts, after a check that the numbers belong to them."""
    texts = []
    for records in split.records(["n", "text"]):
        pairs = zip(records.texts("text"), records.numbers("n"), strict=True)
        for index, (text, number) in enumerate(pairs):
            assert text.endswith(f" {number:.0f}")
            name, line = text.split()
            assert records.where(index).endswith(f"{name}.jsonl: line {int(line) + 1}")
            texts.append(text)
    return texts


def refusal(data: DataConfig, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        read(getattr(open_record_splits(data, seed=0), split))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def settings_of(folder: Path) -> dict[str, dict[str, Any]]:
    one, two = rows_file(folder, "one", 900), rows_file(folder, "two", 600)
    return {
        "held out": {"train": one},
        "counted": {"train": [one, two], "validation_documents": 7},
        "given": {"train": one, "validation": two},
        "budget": {"train": {"mixture": [{"source": one, "documents": 60}]}},
        "mixture": {
            "train": {
                "mixture": [
                    {"source": one, "documents": 700, "repeats": 2},
                    {"source": two},
                ]
            },
            "validation_fraction": 0.1,
        },
        "repeats": {"train": {"mixture": [{"source": one, "repeats": 2}]}, "validation": two},
        "weights": {
            "train": {
                "documents": 400,
                "mixture": [
                    {"source": one, "weight": 3},
                    {"source": two, "weight": 1, "repeats": 3},
                ],
            },
            "test": {"mixture": [{"source": one}, {"source": two}]},
        },
    }


@pytest.mark.parametrize(
    "kind", ["held out", "counted", "given", "budget", "mixture", "repeats", "weights"]
)
def test_records_are_drawn_as_documents_are(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_splits, "MOST_ROWS", 100)
    data = DataConfig(**settings_of(tmp_path)[kind])
    for seed in (0, 5):
        records, texts = open_record_splits(data, seed=seed), open_splits(data, seed=seed)
        for name in ("train", "validation", "test"):
            found, expected = getattr(records, name), getattr(texts, name)
            assert (found is None) == (expected is None)
            if found is not None:
                assert read(found) == texts_of(expected)
                assert read(found) == texts_of(expected)


def test_shared_records_are_reported_left_out_or_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"text": "a", "n": -1}, {"text": "b", "n": 2}, {"text": "c", "n": 3}]
    other = [{"text": "a", "n": -2}, {"text": "b", "n": 2}, {"text": "d", "n": 3}]
    for name, content in (("train", rows), ("other", other)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    files = {"train": f"{tmp_path}/train.json", "validation": f"{tmp_path}/other.json"}

    def texts(mode: str, columns: list[str]) -> list[str]:
        splits = open_record_splits(DataConfig(**files, shared_documents=mode), seed=0)
        caplog.clear()
        for _ in range(2):
            list(splits.train.records(columns))
            found = [t for r in splits.validation.records(columns) for t in r.columns["text"]]
        return found

    with caplog.at_level(logging.WARNING):
        assert texts("warn", ["text", "n"]) == ["a", "b", "d"]
        assert caplog.messages == [
            "1 of the 3 validation records is in the training data too"
        ]  # once
        assert texts("drop", ["text", "n"]) == ["a", "d"]
        assert texts("drop", ["text"]) == ["d"]
        (message,) = caplog.messages
        assert message.endswith(
            "2 of the 3 validation records are in the training data too; they are left out"
        )
    assert "1 of the 3 validation records is in" in refusal_of_shared(files)


def refusal_of_shared(files: dict[str, str]) -> str:
    splits = open_record_splits(DataConfig(**files, shared_documents="error"), seed=0)
    with pytest.raises(DataError) as caught:
        list(splits.validation.records(["text", "n"]))
    return str(caught.value)


def test_training_data_is_not_read_again_to_find_shared_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = rows_file(tmp_path, "one", 5), rows_file(tmp_path, "two", 5)
    splits = open_record_splits(DataConfig(train=one, validation=two), seed=0)
    read(splits.train)
    Path(one).unlink()
    assert len(read(splits.validation)) == 5


def test_held_out_records_are_read_once_and_training_records_for_each_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[str] = []
    chosen = RecordSource.chosen

    def counted(self: RecordSource, columns: Sequence[str], mask: Any) -> Iterator[Records]:
        readings.append("all" if mask is None else f"{mask.sum()}")
        return chosen(self, columns, mask)

    monkeypatch.setattr(RecordSource, "chosen", counted)
    data = DataConfig(train=rows_file(tmp_path, "one", 20), validation_fraction=0.2)
    splits = open_record_splits(data, seed=0)
    for split in (splits.train, splits.train, splits.validation):
        read(split)
    assert readings == ["16", "16", "4"]


def test_a_refusal_of_shared_records_is_repeated(tmp_path: Path) -> None:
    one = rows_file(tmp_path, "one", 5)
    data = DataConfig(train=one, validation=one, shared_documents="error")
    splits = open_record_splits(data, seed=0)
    for _ in range(2):
        with pytest.raises(DataError, match="5 of the 5 validation records are in the training"):
            read(splits.validation)


def test_images_that_differ_are_not_shared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    datasets, image = (pytest.importorskip(name) for name in ("datasets", "PIL.Image"))
    pixels = np.random.default_rng(0).integers(0, 255, (700, 9, 9), np.uint8)
    features = datasets.Features({"image": datasets.Image()})
    for name, part in (("train", pixels[:500]), ("validation", pixels[450:])):
        rows = {"image": list(map(image.fromarray, part))}
        datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / name))
    given = {name: {"disk": str(tmp_path / name)} for name in ("train", "validation")}
    splits = open_record_splits(DataConfig(**given, shared_documents="drop"), seed=0)
    kept = [
        pixels_of(each, "here", "image", channels=1, size=None)[0]
        for r in splits.validation.records(["image"])
        for each in r.columns["image"]
    ]
    assert np.array_equal(kept, pixels[500:])
    (message,) = caplog.messages
    assert message.startswith("50 of the 250 validation records are in the training data too")


class Bounds(BaseModel):
    """First and last image."""

    first: int
    last: int


class Images(RowSource):
    """Images of 2 x 2, each with a number."""

    def __init__(self, settings: Bounds, reading: Reading) -> None:
        super().__init__("frames", reading.text_column)
        self.settings = settings

    def records(self, columns: Sequence[str]) -> Iterator[Records]:
        for n in range(self.settings.first, self.settings.last, 10):
            numbers = np.arange(n, min(n + 10, self.settings.last))
            image = np.broadcast_to(numbers[:, None, None], (len(numbers), 2, 2))
            both = {"image": image.astype(np.float32), "n": numbers}
            yield Records(columns=both, source="frames", places=numbers).select(columns)

    def cache_key(self, sha256: Hash) -> Any:
        return ["frames", self.settings.model_dump()]


def test_arrays_stay_arrays_beside_their_numbers() -> None:
    register_source("frames", schema=Bounds)(Images)
    try:
        parts = [{"source": {"frames": {"first": n, "last": n + 35}}} for n in (0, 100)]
        data = DataConfig(
            train={"mixture": parts},
            validation={"frames": {"first": 30, "last": 40}},
            shared_documents="drop",
        )
        splits = open_record_splits(data, seed=0)
        found: list[float] = []
        for split in (splits.train, splits.validation):
            for records in split.records(["image", "n"]):
                image, numbers = records.columns["image"], records.numbers("n")
                assert isinstance(image, np.ndarray)
                assert image.dtype == np.float32
                assert (image == numbers[:, None, None]).all()
                found += numbers.tolist()
        assert sorted(found[:70]) == [*range(35), *range(100, 135)]
        assert found[:70] != sorted(found[:70])
        assert found[70:] == [35, 36, 37, 38, 39]
    finally:
        SOURCES.remove("frames")


@pytest.mark.parametrize(
    ("settings", "split", "message"),
    [
        ({"train": "empty.csv"}, "train", "empty.csv: holds no records; name a source with rows"),
        ({"train": "header.csv"}, "train", "header.csv: holds no records"),
        ({"validation": "header.csv"}, "validation", "header.csv: holds no records; name a"),
        ({"train": "single.jsonl"}, "train", "is a single record, so none can be held out; give"),
        (
            {"validation_documents": 9},
            "validation",
            "data.validation_documents (=9) leaves nothing to train on: there are 9 records; lower",
        ),
        (
            {"validation": "good.jsonl", "shared_documents": "drop"},
            "validation",
            "no record is left; name a source with other rows, or change data.shared_documents",
        ),
        (
            {"train": {"mixture": [{"source": "good.jsonl", "documents": 10}]}},
            "train",
            "has 9 records, fewer than its budget of 10 documents; lower the budget",
        ),
        (
            {
                "train": {
                    "documents": 5,
                    "mixture": [
                        {"source": "good.jsonl", "weight": 99},
                        {"source": "single.jsonl", "weight": 1},
                    ],
                }
            },
            "train",
            "single.jsonl: its weight gives it less than one of the documents of the mixture",
        ),
        ({"train": "text.txt"}, "train", "text.txt: is read as text without columns"),
    ],
)
def test_too_few_records_are_refused(
    settings: dict[str, Any],
    split: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in (("empty.csv", ""), ("header.csv", "n,text\n"), ("text.txt", "a\n")):
        Path(name).write_text(content)
    rows_file(Path(), "good", 9)
    rows_file(Path(), "single", 1)
    assert message in refusal(DataConfig(**({"train": "good.jsonl"} | settings)), split)


def test_a_file_that_changes_between_two_readings_is_refused(tmp_path: Path) -> None:
    for after in (19, 21):
        splits = open_record_splits(DataConfig(train=rows_file(tmp_path, "one", 20)), seed=0)
        read(splits.train)
        rows_file(tmp_path, "one", after)
        with pytest.raises(DataError, match=f"has {after} records, but had 20 a moment ago: it ch"):
            read(splits.train)


@pytest.mark.parametrize(("fraction", "held"), [(0.2, 2), (0.01, 1)])
def test_the_last_records_are_held_out_by_position(
    fraction: float, held: int, tmp_path: Path
) -> None:
    files = [rows_file(tmp_path, "one", 7), rows_file(tmp_path, "two", 3)]
    data = DataConfig(train=files, split_by="position", validation_fraction=fraction)
    splits = open_record_splits(data, seed=5)
    both = [f"one {n}" for n in range(7)] + [f"two {n}" for n in range(3)]
    assert (read(splits.train), read(splits.validation)) == (both[:-held], both[-held:])
