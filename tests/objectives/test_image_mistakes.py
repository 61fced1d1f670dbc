"""Mistakes in images: one line each from the command, exit code 3, and no directory of a run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.pictures import encoded, picture, write_folder
from tests.task_runs import foundry

EXPERIMENT = """
experiment_name: mistakes
data: {train: {images: pictures}, validation_fraction: 0.25}
model:
  architecture: vit
  backbone: {layers: 1, hidden_size: 8, attention_heads: 2}
  vit: {patch_size: 3}
training: {objective: image_classification, image_classification: {channels: 1}, max_steps: 1}
"""
FOLDER, TABLE, ARRAYS = "{images: pictures}", "table.csv", "arrays.npz"


def damage(here: Path) -> None:
    (here / "pictures/left/03.png").write_bytes(b"no image")


def widen(here: Path) -> None:
    for number in range(6):
        wide = encoded(np.repeat(picture("right"), 2, axis=1))
        (here / f"pictures/right/{number:02d}.png").write_bytes(wide)


def empty(here: Path) -> None:
    (here / "pictures/empty").mkdir()


def single(here: Path) -> None:
    for half in ("left", "bottom"):
        shutil.rmtree(here / "pictures" / half)


def forget(here: Path) -> None:
    (here / "table.csv").write_text("image,label\npictures/left/00.png,a\npictures/none.png,b\n")


def four_channels(here: Path) -> None:
    np.savez(here / "arrays.npz", image=np.zeros((8, 6, 6, 4)), label=np.arange(8) % 2)


def other_names(here: Path) -> None:
    np.savez(here / "arrays.npz", pictures=np.zeros((8, 6, 6)), labels=np.arange(8) % 2)


@pytest.mark.parametrize(
    ("mistake", "source", "words"),
    [
        (damage, FOLDER, ("pictures/left/03.png: 'image' is of no known format",)),
        (widen, FOLDER, ("pictures/right/0", "is 6 x 12 pixels, unlike pictures/", "is 6 x 6;")),
        (single, FOLDER, ("data.train: the training data have one label only ('right'),",)),
        (empty, FOLDER, ("pictures/empty: the folder of a class has no images",)),
        (forget, TABLE, ("line 3: 'image' (pictures/none.png) cannot be decoded (No such file",)),
        (four_channels, ARRAYS, ("row 1: 'image' has the shape (6, 6, 4), but an image is",)),
        (other_names, ARRAYS, ("arrays.npz: has no column", "='label', but pictures, labels;")),
    ],
)
def test_a_mistake_is_told_in_one_line(
    mistake: Callable[[Path], None],
    source: str,
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "pictures", 6)
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    mistake(tmp_path)
    code, _, said = foundry("train", "e.yaml", f"data.train={source}")
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == 3, said
    assert len(errors) == 1 and said.splitlines()[-1] == errors[0]
    assert all(each in errors[0] for each in words), errors[0]
    assert not (tmp_path / "runs").exists()
