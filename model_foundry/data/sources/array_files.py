"""Rows of `.npz` files of NumPy: each array (N, ...) is a column."""

from collections.abc import Iterator, Sequence
from typing import BinaryIO
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np

from model_foundry.data.sources.records import MOST_ROWS, Records
from model_foundry.data.sources.rows import column_places
from model_foundry.errors import DataError
from model_foundry.foundation.interrupts import check_interrupt
from model_foundry.foundation.messages import reason_of

ZIP_MARK = b"PK"  # at the start of a file; NumPy takes others for a single array, or a pickle
FAULTS = (BadZipFile, EOFError, MemoryError, OSError, ValueError, ZlibError)


def read_arrays(file: BinaryIO, where: str, columns: Sequence[str]) -> Iterator[Records]:
    """Read these columns, each at once; arrays of Python objects are refused.

    Raises:
        DataError: the file is damaged, there is no such column, or one has no rows.
        Interrupted: a signal arrived.
    """
    if file.read(len(ZIP_MARK)) != ZIP_MARK:
        law = "is no .npz file, which holds arrays by name; write one with numpy.savez"
        raise DataError(f"{where}: {law}")
    file.seek(0)
    try:
        with np.load(file, allow_pickle=False) as archive:
            column_places(archive.files, where, columns)
            found = {column: archive[column] for column in columns}
    except DataError:
        raise
    except FAULTS as error:
        reason = reason_of(error)
        raise DataError(f"{where}: cannot be read as arrays ({reason}); save it again") from error
    for name, array in found.items():
        if not array.ndim:
            law = f"column {name!r} is a single value; save an array with an entry for each row"
            raise DataError(f"{where}: {law}")
    rows = len(next(iter(found.values()), ()))
    whole = Records(columns=found, source=where, places=range(1, rows + 1))
    for start in range(0, rows, MOST_ROWS):
        check_interrupt()
        yield whole.take(range(start, min(rows, start + MOST_ROWS)))
