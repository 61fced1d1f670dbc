"""Arrays that grow on disk, as plain `.npy` files."""

from pathlib import Path

import numpy as np
import pytest

from model_foundry.data.tokens import array_file
from model_foundry.data.tokens.array_file import ArrayFile, map_array


def written(path: Path, dtype: type, *parts: list[int]) -> np.ndarray:
    file = ArrayFile(path, np.dtype(dtype))
    for part in parts:
        file.append(np.array(part, dtype=np.int64))
    assert len(file) == sum(map(len, parts))
    file.close()
    file.close()  # once more is harmless
    return np.load(path, allow_pickle=False)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_appended_values_are_a_plain_array(dtype: type, tmp_path: Path) -> None:
    array = written(tmp_path / "a.npy", dtype, [1, 2], [], [255, 0])
    assert array.dtype == dtype and array.tolist() == [1, 2, 255, 0]
    mapped = map_array(tmp_path / "a.npy")
    assert mapped.tolist() == [1, 2, 255, 0] and mapped.dtype == dtype
    assert isinstance(mapped.base, np.memmap) and not mapped.flags.writeable
    expected = tmp_path / "expected.npy"
    np.save(expected, np.array([1, 2, 255, 0], dtype=dtype))
    assert (tmp_path / "a.npy").read_bytes() == expected.read_bytes()


def test_nothing_appended_is_an_empty_array(tmp_path: Path) -> None:
    assert written(tmp_path / "a.npy", np.uint16).shape == (0,)
    assert written(tmp_path / "b.npy", np.uint16, []).shape == (0,)
    assert map_array(tmp_path / "b.npy").tolist() == []


@pytest.mark.parametrize("copied", [1, 3, 2**24])
def test_a_value_too_large_widens_all(
    copied: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_file, "COPIED", copied)
    parts = [[1, 255], [256], [7], [65_535, 65_536], [2**32], [3]]
    for number, dtype in ((1, np.uint8), (3, np.uint16), (4, np.uint32), (6, np.uint64)):
        array = written(tmp_path / "a.npy", np.uint8, *parts[:number])
        assert array.dtype == dtype
        assert array.tolist() == [value for part in parts[:number] for value in part]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_a_type_is_not_widened_without_need(tmp_path: Path) -> None:
    assert written(tmp_path / "a.npy", np.uint16, [65_535]).dtype == np.uint16


@pytest.mark.parametrize(
    "array", [np.zeros(3, np.float32), np.zeros(3, np.int64), np.zeros((2, 2), np.uint8)]
)
def test_another_array_is_refused(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=r"a\.npy is not an array of unsigned integers"):
        map_array(tmp_path / "a.npy")


@pytest.mark.parametrize("raw", [b"", b"\x93NUMPY", b"PK something", b"\x80\x04K\x01."])
def test_a_file_that_is_no_array_is_refused(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(raw)
    with pytest.raises((ValueError, OSError, EOFError)):
        map_array(tmp_path / "a.npy")
