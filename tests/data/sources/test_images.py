"""Pixels of all that a record may hold as an image, compared with the pixels it was made of."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model_foundry.data.sources.images import pixels_of
from model_foundry.errors import DataError
from tests.pictures import encoded, picture

GREY = picture("left")
COLOUR = np.stack([GREY, GREY // 2, 255 - GREY], -1)  # (H, W, C)


def pixels(value: Any, channels: int = 3, size: int | None = None) -> Any:
    return pixels_of(value, "file", "image", channels=channels, size=size)


def test_every_form_of_an_image_gives_the_same_pixels(tmp_path: Path) -> None:
    content, path = encoded(COLOUR), tmp_path / "a.png"
    path.write_bytes(content)
    forms = (
        *(content, str(path), Image.fromarray(COLOUR), COLOUR, COLOUR.tolist(), list(COLOUR)),
        *({"bytes": content, "path": "gone.png"}, {"bytes": None, "path": str(path)}),
    )
    for form in forms:
        found = pixels(form)
        assert found.dtype == np.uint8 and (found == COLOUR.transpose(2, 0, 1)).all()


def test_grey_and_colour_are_converted_as_pillow_does() -> None:
    luma = np.asarray(Image.fromarray(COLOUR).convert("L"))
    assert (pixels(COLOUR, channels=1) == luma[None]).all()
    for form in (GREY, GREY[..., None], encoded(GREY)):
        assert (pixels(form, channels=1) == GREY[None]).all()
        assert (pixels(form) == np.stack([GREY] * 3)).all()


def test_an_image_is_resized_to_a_square() -> None:
    wide = np.repeat(GREY, 2, axis=1)
    expected = Image.fromarray(wide).resize((4, 4), Image.Resampling.BILINEAR)
    assert (pixels(wide, channels=1, size=4) == np.asarray(expected)[None]).all()


def test_a_palette_with_transparency_gives_its_colours() -> None:
    image = Image.fromarray(COLOUR).quantize(16)
    image.info["transparency"] = bytes(range(16))
    expected = np.asarray(Image.fromarray(COLOUR).quantize(16).convert("RGB"))
    assert (pixels(image) == expected.transpose(2, 0, 1)).all()


def test_a_photograph_stands_as_it_was_taken(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(GREY).save(tmp_path / "turned.png", exif=exif)
    assert (pixels(str(tmp_path / "turned.png"), channels=1) == np.rot90(GREY, 3)[None]).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"no image", "'image' is of no known format of images; correct it"),
        (encoded(GREY)[:-30], "'image' cannot be decoded ("),
        ("nowhere.png", "'image' (nowhere.png) cannot be decoded (No such file or directory);"),
        (None, "'image' is null, not an image (a file, its path, or lists of pixels); correct"),
        (np.ones((6, 6, 2)), "'image' has the shape (6, 6, 2), but an image is (H, W), (H, W, 1)"),
        (np.ones((0, 6)), "'image' has the shape (0, 6), but"),
        ([[0, 1], [2, 0.5]], "'image' has the pixel 0.5, which is no whole number from 0 to 255;"),
        ([[0, 256]], "'image' has the pixel 256, which"),
        ([[0, -1]], "'image' has the pixel -1, which"),
        ([[0, "dark"]], "'image' has the entry 'dark', which is no finite number"),
        (
            Image.fromarray(GREY.astype(np.int32)),
            "'image' is an image of mode I, with more than 8 bits a channel; convert it to 8 bits",
        ),
    ],
)
def test_what_is_no_image_is_told_in_one_line(value: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        pixels(value)
    assert f"{caught.value}".startswith(f"file: {message}") and "\n" not in f"{caught.value}"


def test_pipes_and_devices_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # to open it would wait for a writer for ever
    for path in (str(tmp_path / "pipe.png"), "/dev/zero", str(tmp_path)):
        for value in (path, {"bytes": None, "path": path}):
            with pytest.raises(DataError) as caught:
                pixels(value)
            law = "is not a regular file; correct it, or remove the row"
            assert str(caught.value) == f"file: 'image' ({path}) {law}"
