"""Processors: what stands between the data and a model, and is saved with it.

Each has a role (tokenizer, target_tokenizer, labels, image_processor) and a content hash, by which
a run that resumes is compared. A role is the name of a directory in that of a run, and in that of a
model.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Self

from transformers import PreTrainedTokenizerBase

from model_foundry.data.tokens.tokenize import tokenizer_hash
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.saving import save_tokenizer

TOKENIZER, IMAGE_PROCESSOR = ROOT_ROLES = ("tokenizer", "image_processor")
ROLE = re.compile(r"[a-z0-9][a-z0-9_-]*")  # no dot, which all files have; some systems ignore case
TAKEN = ("checkpoints", "diagnostics", "evaluation", "model", "model_ema")  # directories of a run


class Processor(ABC):
    """One processor; it does not change once it is made."""

    at_root: ClassVar[bool] = False
    """True: in a role of `ROOT_ROLES`, its files stand beside those of the model, where other tools
    expect them. Else they are in a directory of its own, named by its role."""

    @property
    @abstractmethod
    def sha256(self) -> str:
        """Hash of everything that the model's inputs depend on."""

    @abstractmethod
    def describe(self) -> str:
        """Return what it holds, in one line."""

    @abstractmethod
    def save(self, directory: Path, *, positions: int | None = None, alone: bool = False) -> None:
        """Write its files.

        Args:
            positions: the maximum length of the model's inputs; None: any.
            alone: True if the directory holds nothing else.
        """

    @classmethod
    @abstractmethod
    def load(cls, directory: Path) -> Self:
        """Read the files that `save` wrote.

        Raises:
            DataError: they are missing or invalid.
        """


Processors = Mapping[str, Processor]


class TextTokenizer(Processor):
    """A tokenizer that frames a text as its objective does.

    Args:
        source: its directory, or its name on a hub; None: it was trained just now.
    """

    at_root = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase, source: str | Path | None) -> None:
        self.tokenizer, self.source = tokenizer, source

    @property
    def sha256(self) -> str:
        return tokenizer_hash(self.tokenizer)

    def describe(self) -> str:
        return f"{len(self.tokenizer):,} entries"

    def save(self, directory: Path, *, positions: int | None = None, alone: bool = False) -> None:
        source = self.source if alone else None
        save_tokenizer(self.tokenizer, directory, positions=positions, source=source)

    @classmethod
    def load(cls, directory: Path) -> Self:
        return cls(load_tokenizer(directory), directory)


def require_roles(task: str, types: Mapping[str, object]) -> None:
    """Require that the roles of a task's processors can be names of directories.

    Raises:
        TypeError: one cannot.
    """
    for role in types:
        law = f"{task}.processor_types: the role {role!r}"
        if not (isinstance(role, str) and ROLE.fullmatch(role)):
            raise TypeError(f"{law} must consist of a-z, 0-9, '_' and '-', a letter or digit first")
        if role in TAKEN:
            raise TypeError(f"{law} is the name of a directory of the run; name it otherwise")


def place_of(role: str, kind: type[Processor], directory: Path) -> Path:
    """Return where the processor of a role stands in the directory of a model."""
    return directory if kind.at_root and role in ROOT_ROLES else directory / role


def save_processors(processors: Processors, directory: Path, *, positions: int | None) -> None:
    """Write all processors into the directory of a model."""
    for role, processor in processors.items():
        place = place_of(role, type(processor), directory)
        place.mkdir(exist_ok=True)
        processor.save(place, positions=positions)


def load_processors(types: Mapping[str, type[Processor]], directory: Path) -> dict[str, Processor]:
    """Read the processors in the directory of a model.

    Raises:
        DataError: the files of one are missing or invalid.
    """
    return {role: kind.load(place_of(role, kind, directory)) for role, kind in types.items()}


def packed(processors: Processors) -> dict[str, bytes]:
    """Return the files of all processors by their path, to be sent to other processes."""
    with TemporaryDirectory() as place:
        save_processors(processors, Path(place), positions=None)
        found = [path for path in Path(place).rglob("*") if path.is_file()]
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in found}


@contextmanager
def unpacked(files: Mapping[str, bytes]) -> Iterator[Path]:
    """Yield a directory with these files, for the length of the block."""
    with TemporaryDirectory() as place:
        for name, content in files.items():
            path = Path(place, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield Path(place)
