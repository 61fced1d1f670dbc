"""Rows of `.npz` files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_foundry.data.sources.records import MOST_ROWS
from model_foundry.errors import DataError
from tests.data.sources.reading import source_of

ROWS = MOST_ROWS + 3


def saved(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def refusal(path: Path, *columns: str) -> str:
    with pytest.raises(DataError) as caught:
        list(source_of(path).records(columns or ("x",)))
    assert "\n" not in f"{caught.value}"
    return f"{caught.value}".replace(f"{path.parent}/", "")


def test_each_array_is_a_column(tmp_path: Path) -> None:
    images, names = np.arange(ROWS * 4).reshape(ROWS, 2, 2), np.arange(ROWS).astype(str)
    path = saved(tmp_path / "a.npz", images=images, names=names, other=[1])
    parts = list(source_of(path).records(["names", "images"]))
    assert [len(part) for part in parts] == [MOST_ROWS, 3]
    assert [name for part in parts for name in part.labels("names")] == names.tolist()
    found = np.concatenate([part.columns["images"] for part in parts])
    assert found.dtype == images.dtype and (found == images).all()
    assert parts[1].where(0) == f"{path}: row {MOST_ROWS + 1}"


def test_a_folder_of_texts_leaves_them_out(tmp_path: Path) -> None:
    saved(tmp_path / "a.npz", x=[1])
    (tmp_path / "b.txt").write_text("text")
    assert source_of(tmp_path).paths == [tmp_path / "b.txt"]


def test_faults_of_a_file_are_told_in_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", x=[1], y=[1, 2], one=3)
    assert refusal(path, "z").startswith("a.npz: has no column 'z', but x, y, one")
    assert refusal(path, "x", "y").startswith("a.npz: columns of unequal length ('x' 1, 'y' 2)")
    law = "a.npz: column 'one' is a single value; save an array with an entry for each row"
    assert refusal(path, "one") == law
    for content in (b"text", b"\x93NUMPY"):
        path.write_bytes(content)
        law = "a.npz: is no .npz file, which holds arrays by name; write one with numpy.savez"
        assert refusal(path) == law
    saved(path, x=[1])
    path.write_bytes(path.read_bytes()[:-40])
    assert refusal(path).startswith("a.npz: cannot be read as arrays (")
    law = "a.npz: cannot be read as arrays (Object arrays cannot be loaded when allow_pickle=False)"
    assert refusal(saved(path, x=np.array([{}]))) == f"{law}; save it again"
