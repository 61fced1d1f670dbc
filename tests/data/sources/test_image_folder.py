"""Images in a folder for each class, as records."""

import os
import shutil
from pathlib import Path

import pytest

from model_foundry.config import ImagesSource
from model_foundry.data.sources.base import Reading, Source
from model_foundry.data.sources.opening import open_source
from model_foundry.errors import DataError
from model_foundry.foundation.atomic_files import file_sha256
from tests.pictures import HALVES, write_folder


def opened(folder: Path) -> Source:
    return open_source(ImagesSource(images=str(folder)), Reading("file", "text", "strict"))


def refusal(folder: Path, *columns: str) -> str:
    with pytest.raises(DataError) as caught:
        list(opened(folder).records(columns or ("label",)))
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder), "DIR")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", 2)


def test_a_record_is_a_file_and_the_name_of_its_folder(folder: Path) -> None:
    (folder / ".hidden").mkdir()
    (folder / "left" / ".DS_Store").write_bytes(b"")
    (folder / "README.md").write_text("no image")
    (records,) = opened(folder).records(["label", "image"])
    assert records.labels("label") == [name for name in HALVES for _ in range(2)]
    files = [folder / name / f"{n:02d}.png" for name in HALVES for n in range(2)]
    assert records.columns["image"] == [file.read_bytes() for file in files]
    assert [records.where(n) for n in range(6)] == [str(file) for file in files]


def test_labels_are_read_without_the_images(folder: Path) -> None:
    (folder / "left" / "00.png").unlink()
    (folder / "left" / "00.png").symlink_to(folder / "nowhere")
    (records,) = opened(folder).records(["label"])
    assert len(records) == 6 and list(records.columns) == ["label"]
    law = "DIR/left/00.png: cannot be read (No such file or directory)"
    assert refusal(folder, "image") == law


def test_other_content_has_another_key(folder: Path) -> None:
    def key() -> object:
        return opened(folder).cache_key(file_sha256)

    before = key()
    assert key() == before
    (folder / "left" / "00.png").rename(folder / "right" / "00b.png")
    assert key() != before


def test_faults_of_a_folder_are_told_in_one_line(folder: Path) -> None:
    assert refusal(folder, "pixels").startswith("DIR: has no column 'pixels', but image, label")
    (folder / "empty").mkdir()
    law = "DIR/empty: the folder of a class has no images; add some, or remove it"
    assert refusal(folder) == law
    (folder / "empty").rmdir()
    os.mkfifo(folder / "left" / "pipe.png")  # to open it would wait for a writer for ever
    assert refusal(folder) == "DIR/left/pipe.png: is not a regular file; remove it"
    (folder / "left" / "pipe.png").unlink()
    (folder / "loose.PNG").write_bytes(b"")
    law = "DIR/loose.PNG: stands beside the folders of the classes; move it into that of its class"
    assert refusal(folder) == law
    shutil.rmtree(folder)
    assert refusal(folder) == "DIR: cannot be read (No such file or directory)"
    folder.mkdir()
    assert refusal(folder) == "DIR: has no folder of images; give each class one"


def test_a_folder_of_images_is_no_text(folder: Path) -> None:
    with pytest.raises(DataError, match="holds records without text"):
        opened(folder).batches()
