"""Small pictures for tests: a bright half tells the label, noise is all around it."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HALVES: dict[str, Any] = {
    "bottom": np.s_[3:],
    "left": np.s_[:, :3],
    "right": np.s_[:, 3:],
}


def picture(*names: str, seed: int = 0) -> NDArray[np.uint8]:
    """Return grey pixels (6, 6) whose named halves are bright."""
    pixels = np.random.default_rng(seed).integers(0, 60, (6, 6)).astype(np.uint8)
    for name in names:
        pixels[HALVES[name]] += 90
    return pixels


def encoded(pixels: NDArray[np.uint8], kind: str = "png") -> bytes:
    """Return the bytes of a file with these pixels."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_folder(folder: Path, number: int = 12) -> Path:
    """Write a folder of pictures for each half; return the folder of folders."""
    for place, name in enumerate(HALVES):
        (folder / name).mkdir(parents=True)
        for n in range(number):
            content = encoded(picture(name, seed=number * place + n))
            (folder / name / f"{n:02d}.png").write_bytes(content)
    return folder
