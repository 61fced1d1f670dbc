"""The handwritten digits of scikit-learn as image data: 1,797 grey images of 8 x 8 pixels.

Four fifths of them train, one fifth tests, drawn at random with the shares of the classes kept.
Images that show several digits are pasted together from digits of the same part, so that no
handwriting of the test is seen in training.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Part = tuple[NDArray[np.uint8], NDArray[np.str_]]
"""Images (N, H, W) and their labels (N,)."""


def digits(seed: int) -> dict[str, Part]:
    """Return the digits that train and those that test."""
    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(pixels.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    rows = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=seed
    )
    parts = {"train": rows[0], "test": rows[1]}
    return {name: (images[n], labels[n].astype(str)) for name, n in parts.items()}


def pasted(part: Part, number: int, beside: int, seed: int) -> Part:
    """Return images of random digits side by side, labelled as `3,7`, each label once."""
    images, labels = part
    drawn = np.random.default_rng(seed).integers(len(images), size=(number, beside))
    wide = np.concatenate(images[drawn].swapaxes(0, 1), axis=2)  # (N, 8, 8 * beside)
    return wide, np.array([",".join(sorted({*row})) for row in labels[drawn]])


def write_folders(directory: Path, part: Part) -> None:
    """Write a file for each image into the folder of its label."""
    for number, (image, label) in enumerate(zip(*part, strict=True)):
        folder = directory / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:05d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, help="where train.npz and test.npz are written")
    parser.add_argument("--seed", type=int, default=0, help="of the division and of the pasting")
    parser.add_argument("--beside", type=int, default=1, help="digits in each image")
    parser.add_argument("--images", type=int, default=8000, help="pasted images that train")
    parser.add_argument("--folders", action="store_true", help="write PNG files in folders instead")
    given = parser.parse_args()
    for place, (name, part) in enumerate(digits(given.seed).items()):
        if given.beside > 1:
            number = given.images if name == "train" else given.images // 4
            part = pasted(part, number, given.beside, 2 * given.seed + place)
        if given.folders:
            write_folders(given.directory / name, part)
        else:
            given.directory.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(given.directory / f"{name}.npz", image=part[0], label=part[1])
        print(f"{name}: {len(part[1]):,} images")


if __name__ == "__main__":
    main()
