"""Hashes of records by their content, the same in every process and on every machine."""

import sys
from collections.abc import Iterable, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.sources.records import Column, Records
from model_foundry.errors import DataError

Digests = NDArray[np.int64]
PRINTED = (str, bool, int, float, complex, date, time, timedelta, Decimal, UUID, type(None))
"""Types whose values are printed alike only if they are equal; `date` includes `datetime`."""
PLAIN = {str, bool, int, float, type(None)}
"""Types whose lists are, too."""


def digests_of(records: Records) -> Digests:
    """Return a hash of each record, over all of its columns, (N,).

    Raises:
        DataError: a value has no content that could be compared.
    """
    columns = [_encoded(name, column, records) for name, column in records.columns.items()]
    rows = map(_framed, zip(*columns, strict=True))
    hashes = b"".join(blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(hashes, "<i8").astype(np.int64)


def _encoded(name: str, column: Column, records: Records) -> Iterator[bytes]:
    if isinstance(column, np.ndarray) and column.ndim == 1:
        column = column.tolist()  # its numbers are equal to those of a list
    for index, value in enumerate(column):
        try:
            yield _bytes_of(value)
        except TypeError as error:
            law = f"{name!r} holds a value of type {error}, which cannot be compared"
            remedy = "give text, numbers, times, bytes, images, arrays, or lists and dicts of them"
            raise DataError(f"{records.where(index)}: {law}; {remedy}") from None


def _bytes_of(value: Any) -> bytes:
    """Return bytes that are equal only for equal values; raise a TypeError that names the type."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, PRINTED):
        return repr(value).encode()
    if isinstance(value, bytes | bytearray):
        return b"bytes " + value
    if isinstance(value, list | tuple):
        is_plain = PLAIN.issuperset(map(type, value))  # many times as fast
        return repr(list(value)).encode() if is_plain else b"list " + _framed(map(_bytes_of, value))
    if isinstance(value, dict):
        pairs = sorted((_bytes_of(key), _bytes_of(item)) for key, item in value.items())
        return b"dict " + _framed(map(_framed, pairs))
    if isinstance(value, np.ndarray):
        return b"array " + _bytes_of_array(value)
    return b"image " + _bytes_of_image(value)


def _bytes_of_array(array: NDArray[Any]) -> bytes:
    if array.dtype.kind not in "biufc":
        return _bytes_of(array.tolist())
    return f"{array.dtype.str} {array.shape} ".encode() + array.tobytes()


def _bytes_of_image(image: Any) -> bytes:
    """Return the content of an image of Pillow, which its repr does not show."""
    pillow = sys.modules.get("PIL.Image")  # whoever makes an image has imported it
    if pillow is None or not isinstance(image, pillow.Image):
        raise TypeError(f"{type(image).__module__}.{type(image).__qualname__}")
    return _framed([_bytes_of([image.mode, image.size, image.getpalette()]), image.tobytes()])


def _framed(parts: Iterable[bytes]) -> bytes:
    """Join parts with the length of each before it, so that their bounds count too."""
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)
