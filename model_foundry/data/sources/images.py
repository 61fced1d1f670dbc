"""The pixels of images in records, read by Pillow.

Letters of shapes: C channels, H rows and W columns of pixels.
"""

import struct
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from model_foundry.data.sources.lists import arrays_of
from model_foundry.data.sources.paths import is_no_file
from model_foundry.data.sources.rows import shown
from model_foundry.errors import DataError
from model_foundry.foundation.messages import printable, reason_of

MODES = {1: "L", 3: "RGB"}  # of Pillow, by the number of channels
DEEP = ("I", "F")  # how the names of modes with more than 8 bits begin
FAULTS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""Exceptions of Pillow for files that are no image, or a damaged one."""
REMEDY = "correct it, or remove the row"


def pixels_of(
    value: Any, where: str, column: str, *, channels: int, size: int | None
) -> NDArray[np.uint8]:
    """Return the pixels of an image, (C, H, W).

    Args:
        value: the bytes of a file, its path, a dictionary with `bytes` or `path` as data sets have
            them, nested lists of pixels (H, W) or (H, W, C), or an image of Pillow.
        where: the place of its record, for messages.
        channels: 1 or 3, to which it is converted.
        size: height and width to which it is resized (bilinear); None: it stays as it is.

    Raises:
        DataError: it cannot be decoded, or has more than 8 bits a channel.
    """
    image = _image_of(value, where, column)
    if image.mode.startswith(DEEP):
        law = f"is an image of mode {image.mode}, with more than 8 bits a channel"
        raise DataError(f"{where}: {named(value, column)} {law}; convert it to 8 bits")
    if image.mode == "P":  # Pillow warns if a palette with transparency becomes RGB at once
        image = image.convert("RGBA")
    image = image.convert(MODES[channels])
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)  # (H, W) or (H, W, C)
    return np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1))


def path_of(value: Any) -> str | None:
    """Return the path of an image that has one, given a value as `pixels_of` takes them."""
    path = value.get("path") if isinstance(value, dict) else value
    return path if isinstance(path, str) else None


def named(value: Any, column: str) -> str:
    """Return the name of a column, with the path of an image that has one."""
    path = path_of(value)
    return repr(column) if path is None else f"{column!r} ({printable(path)})"


def _image_of(value: Any, where: str, column: str) -> Image.Image:
    name = named(value, column)
    if isinstance(value, dict):
        value = value.get("path") if value.get("bytes") is None else value["bytes"]
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, list | np.ndarray):
        return _from_numbers(value, where, column)
    if not isinstance(value, str | bytes):
        law = f"{column!r} is {shown(value)}, not an image"
        raise DataError(f"{where}: {law} (a file, its path, or lists of pixels); {REMEDY}")
    if isinstance(value, str) and is_no_file(value):
        raise DataError(f"{where}: {name} is not a regular file; {REMEDY}")
    try:
        with Image.open(BytesIO(value) if isinstance(value, bytes) else value) as image:
            return ImageOps.exif_transpose(image)  # which reads all of it
    except UnidentifiedImageError as error:
        law = "is of no known format of images"
        raise DataError(f"{where}: {name} {law}; {REMEDY}") from error
    except FAULTS as error:
        reason = getattr(error, "strerror", None) or reason_of(error)
        raise DataError(f"{where}: {name} cannot be decoded ({reason}); {REMEDY}") from error


def _from_numbers(value: Any, where: str, column: str) -> Image.Image:
    numbers = arrays_of([value], lambda _: where, column)[0]
    shape = numbers.shape
    if 0 in shape or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in MODES)):
        law = f"has the shape {shape}, but an image is (H, W), (H, W, 1) or (H, W, 3)"
        raise DataError(f"{where}: {column!r} {law}; {REMEDY}")
    wrong = numbers[(numbers < 0) | (numbers > 255) | (numbers % 1 != 0)]
    if wrong.size:
        law = f"has the pixel {wrong[0]:g}, which is no whole number from 0 to 255"
        raise DataError(f"{where}: {column!r} {law}; scale and round the pixels")
    pixels = numbers.astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if shape[2:] == (1,) else pixels)
