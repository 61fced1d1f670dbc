"""Images in directories laid out like data sets of the Hub, as the library itself reads them."""

import csv
import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from model_foundry.config import DiskSource, HubSource
from model_foundry.data.sources.base import Reading
from model_foundry.data.sources.images import pixels_of
from model_foundry.data.sources.opening import open_source
from model_foundry.errors import DataError
from tests.pictures import write_folder

LAYOUTS = ("metadata.csv", "metadata.jsonl", "folders")
SPLITS = ("train", "test")


def write_data_set(directory: Path, layout: str) -> Path:
    """Write two splits, with their labels in a table or in the names of folders."""
    for number, split in enumerate(SPLITS):
        folder = write_folder(directory / split, 2 + number)
        rows = [
            {"file_name": f"{file.relative_to(folder)}", "label": f"the {file.parent.name}"}
            for file in sorted(folder.rglob("*.png"))
        ]
        if layout == "metadata.jsonl":
            (folder / layout).write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif layout == "metadata.csv":
            with (folder / layout).open("w", newline="") as file:
                table = csv.DictWriter(file, rows[0])
                table.writeheader()
                table.writerows(rows)
    return directory


def read(source: Any) -> tuple[list[np.ndarray], list[str]]:
    """Return the pixels and the labels of a source."""
    pixels, labels = [], []
    for records in open_source(source, Reading("file", "text", "strict")).records(
        ["image", "label"]
    ):
        labels += records.labels("label")
        for index, value in enumerate(records.columns["image"]):
            place = records.where(index), "image"
            pixels.append(pixels_of(value, *place, channels=1, size=None)[0])
    return pixels, labels


def as_the_library_reads(rows: datasets.Dataset) -> tuple[list[np.ndarray], list[str]]:
    labels, kind = list(rows["label"]), rows.features["label"]
    if isinstance(kind, datasets.ClassLabel):
        labels = [kind.int2str(label) for label in labels]
    return [np.asarray(image) for image in rows["image"]], labels


@pytest.fixture
def _left_open() -> Iterator[None]:
    """Close what the library left open within this test, lest a later one be warned of it."""
    yield
    gc.collect()


@pytest.mark.usefixtures("_left_open")
@pytest.mark.filterwarnings("ignore:.*metadata.csv:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("split", SPLITS)
def test_a_directory_is_read_as_by_the_library(layout: str, split: str, tmp_path: Path) -> None:
    directory = write_data_set(tmp_path / "set", layout)
    rows = datasets.load_dataset(str(directory), split=split, cache_dir=str(tmp_path / "cache"))
    images, labels = read(HubSource(hub=str(directory), split=split))
    theirs, their_labels = as_the_library_reads(rows)
    assert len(images) == (6 if split == "train" else 9)
    assert sorted(set(labels))[-1] == ("right" if layout == "folders" else "the right")
    assert labels == their_labels
    np.testing.assert_array_equal(np.stack(images), np.stack(theirs))
    rows.save_to_disk(tmp_path / "saved")
    saved, saved_labels = read(DiskSource(disk=str(tmp_path / "saved")))
    assert saved_labels == labels
    np.testing.assert_array_equal(np.stack(saved), np.stack(images))


@pytest.mark.parametrize("split", SPLITS)
def test_a_damaged_or_missing_image_is_named(split: str, tmp_path: Path) -> None:
    directory = write_data_set(tmp_path / "set", "metadata.jsonl")
    path = directory / split / "left" / "01.png"
    source = HubSource(hub=str(directory), split=split)
    path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"row \d+: 'image' \(.*left/01.png\) is of no known"):
        read(source)
    path.unlink()
    with pytest.raises(DataError, match=r"row \d+: 'image' \(.*left/01.png\) cannot be decoded"):
        read(source)


def test_a_row_without_a_class_has_no_label(tmp_path: Path) -> None:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    pixels = [np.zeros((2, 2), np.uint8)] * 2
    rows = datasets.Dataset.from_dict({"image": pixels, "label": [1, -1]}, features=features)
    rows.save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="row 2: 'label' is null, not a label"):
        read(DiskSource(disk=str(tmp_path / "saved")))
