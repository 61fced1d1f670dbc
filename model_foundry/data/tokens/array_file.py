"""One-dimensional arrays of unsigned integers in `.npy` files: written in parts, memory-mapped."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

HEADER = 128  # bytes; numpy pads the header of such an array to this
COPIED = 2**24  # values that are converted at once


class ArrayFile:
    """A file to which values are appended; a value too large for its dtype widens the dtype."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path, self.dtype, self._length = path, dtype, 0
        self._file = self._create()

    def __len__(self) -> int:
        return self._length

    def append(self, values: NDArray[Any]) -> None:
        """Append values."""
        top = int(values.max(initial=0))
        if top > np.iinfo(self.dtype).max:
            self._widen(np.min_scalar_type(top))
        self._file.write(values.astype(self.dtype).tobytes())
        self._length += len(values)

    def close(self) -> None:
        """Write the header with the length, and close the file."""
        if self._file.closed:
            return
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self._length,)}
        try:
            self._file.seek(0)
            np.lib.format.write_array_header_1_0(self._file, header)
            assert self._file.tell() == HEADER
        finally:
            self._file.close()

    def _create(self) -> BinaryIO:
        file = self.path.open("wb")
        file.write(bytes(HEADER))
        return file

    def _widen(self, dtype: np.dtype[Any]) -> None:
        narrow, self.dtype = self.dtype, dtype
        self._file.close()
        old = self.path.rename(self.path.with_suffix(".narrow"))
        self._file = self._create()
        with old.open("rb") as file:
            file.seek(HEADER)
            while raw := file.read(COPIED * narrow.itemsize):
                self._file.write(np.frombuffer(raw, narrow).astype(dtype).tobytes())
        old.unlink()


def map_array(path: Path) -> NDArray[Any]:
    """Map the array of an `ArrayFile`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else.
    """
    # np.load would also read archives and pickles
    array = np.lib.format.open_memmap(path, mode="r")
    if array.ndim != 1 or array.dtype.kind != "u":
        raise ValueError(f"{path.name} is not an array of unsigned integers")
    return array.view(np.ndarray)  # slicing a plain array is faster
