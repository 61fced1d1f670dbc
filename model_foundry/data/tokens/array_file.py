"""An array of one dimension that grows on the disk, ends as a plain `.npy` file, and is mapped."""

import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

HEADER = 128  # bytes; numpy pads the header of such an array to this
COPIED = 2**24  # values that are converted at once
WRITTEN = re.compile(
    rb"\x93NUMPY\x01\0v\0"
    rb"\{'descr': '([<|]u[1248])', 'fortran_order': False, 'shape': \((\d{1,18}),\), \} *\n"
)


class ArrayFile:
    """Appends unsigned integers; a value too large for their type widens all of them."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path, self.dtype, self._length = path, dtype, 0
        self._file = self._create(path)

    def __len__(self) -> int:
        return self._length

    def append(self, values: NDArray[Any]) -> None:
        """Write values behind those that are there."""
        top = int(values.max(initial=0))
        if top > np.iinfo(self.dtype).max:
            self._widen(np.min_scalar_type(top))
        self._file.write(values.astype(self.dtype).tobytes())
        self._length += len(values)

    def close(self) -> None:
        """Write the header, which tells the length, and close the file."""
        if self._file.closed:
            return
        try:
            self._write_header()
        finally:
            self._file.close()

    def _create(self, path: Path) -> BinaryIO:
        file = path.open("wb")
        file.write(bytes(HEADER))
        return file

    def _write_header(self) -> None:
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self._length,),
            },
        )
        assert self._file.tell() == HEADER

    def _widen(self, dtype: np.dtype[Any]) -> None:
        narrow, self.dtype = self.dtype, dtype
        self._file.close()
        old = self.path.rename(self.path.with_suffix(".narrow"))
        self._file = self._create(self.path)
        with old.open("rb") as file:
            file.seek(HEADER)
            while raw := file.read(COPIED * narrow.itemsize):
                self._file.write(np.frombuffer(raw, narrow).astype(dtype).tobytes())
        old.unlink()


def map_array(path: Path) -> NDArray[Any]:
    """Map what an `ArrayFile` wrote.

    numpy evaluates the header as an expression, on which a hostile one can spend what memory there
    is; so only a header as it is written here is read.

    Raises:
        OSError: it cannot be read.
        ValueError: it is something else.
    """
    with path.open("rb") as file:
        header = WRITTEN.fullmatch(file.read(HEADER))
    if header is None:
        raise ValueError(f"{path.name} is no array of unsigned integers")
    dtype, length = np.dtype(header[1].decode()), int(header[2])
    if path.stat().st_size != HEADER + length * dtype.itemsize:
        raise ValueError(f"{path.name} is longer or shorter than its header says")
    if not length:
        return np.empty(0, dtype)
    # as a plain view, which is sliced faster
    return np.memmap(path, dtype, "r", HEADER, (length,)).view(np.ndarray)
