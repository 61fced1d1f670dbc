"""Folders of images, one for each class."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL.Image import registered_extensions

from model_foundry.config import ImagesSource
from model_foundry.data.sources.base import Hash, Reading, Source
from model_foundry.data.sources.paths import is_no_file
from model_foundry.data.sources.records import Records, Row, in_batches
from model_foundry.data.sources.rows import no_column
from model_foundry.errors import DataError
from model_foundry.foundation.interrupts import check_interrupt
from model_foundry.foundation.messages import printable

COLUMNS = ("image", "label")


class ImageFolder(Source):
    """Images in a folder for each class; hidden files and folders are left out.

    Its records have the bytes of a file as `image`, and the name of its folder as `label`.
    """

    def __init__(self, source: ImagesSource, reading: Reading) -> None:
        super().__init__(printable(source.images))
        self.directory = Path(source.images)

    def records(self, columns: Sequence[str]) -> Iterator[Records]:
        """Read these columns of each image, in the order of labels and of file names.

        Raises:
            DataError: there is no folder, one has no images, or an image stands outside of them.
        """
        for column in columns:
            if column not in COLUMNS:
                raise no_column(self.name, column, COLUMNS)
        rows = (_row(*file, with_image="image" in columns) for file in self._files())
        return in_batches(rows, {column: column for column in columns}, source="", place="%s")

    def cache_key(self, sha256: Hash) -> Any:
        """Return the label and the content of each file."""
        return ["images", [[label, sha256(path)] for label, path in self._files()]]

    def _files(self) -> list[tuple[str, Path]]:
        """Return the label and the path of each image."""
        folders = []
        for path in _listed(self.directory):
            if path.is_dir():
                folders.append(path)
            elif path.suffix.lower() in registered_extensions():
                law = "stands beside the folders of the classes; move it into that of its class"
                raise DataError(f"{printable(path)}: {law}")
        if not folders:
            raise DataError(f"{self.name}: has no folder of images; give each class one")
        return [(folder.name, path) for folder in folders for path in _images_of(folder)]


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{printable(directory)}: cannot be read ({error.strerror})") from error


def _images_of(folder: Path) -> list[Path]:
    found = _listed(folder)
    if not found:
        law = "the folder of a class has no images; add some, or remove it"
        raise DataError(f"{printable(folder)}: {law}")
    for path in filter(is_no_file, found):
        raise DataError(f"{printable(path)}: is not a regular file; remove it")
    return found


def _row(label: str, path: Path, *, with_image: bool) -> Row:
    check_interrupt()
    where = printable(path)
    if not with_image:
        return where, 0, {"label": label}
    try:
        image = path.read_bytes()
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror})") from error
    return where, len(image), {"image": image, "label": label}
