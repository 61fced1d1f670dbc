"""`ImageProcessor`: the size, the channels and the normalization of images."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_foundry.data.sources.images import MODES, named, path_of, pixels_of
from model_foundry.data.sources.records import Records
from model_foundry.errors import DataError
from model_foundry.foundation.messages import printable
from model_foundry.foundation.strict_json import strict_json
from model_foundry.foundation.untrusted_files import read_json
from model_foundry.objectives.processors import Processor

FILE = "preprocessor_config.json"
WHITE = 255
BILINEAR = 2  # by its number in Pillow


class ImageProcessor(Processor):
    """The form in which a model gets images.

    Args:
        size: height and width in pixels.
        resize: images are resized to it, so it is a square; False: all must have it.
        mean: of each channel over the training pixels, from 0 to 1.
        std: their standard deviation, by which they are divided; 1 where all pixels are equal.
    """

    at_root = True

    def __init__(
        self, size: tuple[int, int], *, resize: bool, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.size, self.resize = size, resize
        self.mean, self.std = list(mean), list(std)

    @property
    def channels(self) -> int:
        """1 of grey images, 3 of those in colour."""
        return len(self.mean)

    @classmethod
    def of(cls, pixels: Iterable[NDArray[np.uint8]], *, resize: bool) -> Self:
        """Return the processor of images (N, C, H, W), of which there is at least one.

        Sums of whole numbers are exact, so the order and the division of the images do not matter.
        """
        size, number = (0, 0), 0
        totals: list[int] = []
        squares: list[int] = []
        for images in pixels:
            *_, height, width = images.shape
            size, wide = (height, width), images.astype(np.int64)
            number += len(images) * height * width
            totals = _added(totals, wide)
            squares = _added(squares, wide * wide)
        mean = [total / number / WHITE for total in totals]
        pairs = zip(totals, squares, strict=True)
        std = [(number * square - total**2) ** 0.5 / number / WHITE for total, square in pairs]
        return cls(size, resize=resize, mean=mean, std=[each or 1.0 for each in std])

    def encode(self, records: Records, column: str) -> NDArray[np.uint8]:
        """Return the pixels of images, (N, C, H, W).

        Raises:
            DataError: an image cannot be decoded, or has another size and is not to be resized.
        """
        size = self.size[0] if self.resize else None
        return images_of(records, column, self.channels, size, like=Like(self.size))

    def normalized(self, pixels: Tensor) -> Tensor:
        """Return pixels (B, C, H, W) from 0 to 255 as numbers of mean 0 and variance 1, fp32."""
        mean, std = (torch.tensor(each).mul(WHITE)[:, None, None] for each in (self.mean, self.std))
        return pixels.float().sub_(mean).div_(std)

    def _record(self) -> dict[str, Any]:
        """Return the settings under the names of transformers' image processors."""
        return {
            "image_processor_type": "ViTImageProcessor",
            "do_rescale": True,
            "rescale_factor": 1 / WHITE,
            "do_normalize": True,
            "image_mean": self.mean,
            "image_std": self.std,
            "do_resize": self.resize,
            "size": {"height": self.size[0], "width": self.size[1]},
            "resample": BILINEAR,
            "do_convert_rgb": self.channels == 3,
        }

    @property
    def sha256(self) -> str:
        return sha256(strict_json(self._record()).encode()).hexdigest()

    def describe(self) -> str:
        height, width = self.size
        return f"{height} x {width} pixels, {self.channels} channel{'s' * (self.channels > 1)}"

    def save(self, directory: Path, *, positions: int | None = None, alone: bool = False) -> None:
        text = strict_json(self._record(), indent=1) + "\n"
        (directory / FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        remedy = "restore it, or train again"
        read = read_json(directory, FILE, error=DataError, remedy=remedy)
        try:
            size, resize = (read["size"]["height"], read["size"]["width"]), read["do_resize"]
            loaded = cls(size, resize=resize, mean=read["image_mean"], std=read["image_std"])
            fits = loaded._record() == read and loaded.channels in MODES
        except (KeyError, TypeError) as error:
            raise _unlike(directory, remedy) from error
        if not fits:
            raise _unlike(directory, remedy)
        return loaded


def _added(sums: list[int], values: NDArray[np.int64]) -> list[int]:
    """Add up values (N, C, H, W) by channel; Python's integers do not overflow."""
    found: list[int] = values.sum((0, 2, 3)).tolist()
    return [sum(pair) for pair in zip(sums, found, strict=True)] if sums else found


def _unlike(directory: Path, remedy: str) -> DataError:
    return DataError(f"{directory / FILE}: is not as it was saved; {remedy}")


class Like(NamedTuple):
    """The size that images must have, and those that have it."""

    size: tuple[int, int]
    """Height and width in pixels."""
    whose: str = "the training images, which are"

    @classmethod
    def first_of(cls, records: Records, column: str, pixels: NDArray[np.uint8]) -> Self:
        """Return the size of pixels (..., H, W), of which the first are those of these records."""
        path, where = path_of(records.columns[column][0]), records.where(0)
        height, width = pixels.shape[-2:]
        return cls((height, width), f"{where}{f' ({printable(path)})' if path else ''}, which is")


def images_of(
    records: Records, column: str, channels: int, size: int | None, *, like: Like | None = None
) -> NDArray[np.uint8]:
    """Return the pixels of the images of a column, (N, C, H, W).

    Args:
        size: see `pixels_of`.
        like: the size that all must have; None: that of the first.

    Raises:
        DataError: an image cannot be decoded, or the sizes differ.
    """
    found = []
    for index, value in enumerate(records.columns[column]):
        where = records.where(index)
        pixels = pixels_of(value, where, column, channels=channels, size=size)
        like = like or Like.first_of(records, column, pixels)
        if (shape := pixels.shape[1:]) != like.size:
            law = "is {} x {} pixels, unlike {} {} x {}".format(*shape, like.whose, *like.size)
            remedy = "set training.image_classification.image_size to resize all"
            raise DataError(f"{where}: {named(value, column)} {law}; {remedy}")
        found.append(pixels)
    return np.stack(found)
