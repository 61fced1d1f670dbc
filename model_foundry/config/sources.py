"""The settings of the built-in kinds of sources, other than files; `kind` is a name in SOURCES."""

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Tag

from model_foundry.config.sections import PathText, PositiveInt, Section, Seed, at_home

SOURCE_KINDS = (
    *("path", "paths", "hub", "disk", "images", "language", "mixture", "pairs", "plugin"),
)
"""Tags of the union of sources."""


class HubSource(Section):
    """A data set of the HuggingFace hub, or a local directory laid out like one."""

    kind: ClassVar[str] = "hub"

    hub: Annotated[str, BeforeValidator(at_home)]
    """Repository name (`owner/name`) or directory."""
    name: str | None = None
    """Configuration of the data set; None: its default one."""
    split: str = "train"
    """Split to read."""
    revision: str | None = None
    """Commit or tag to pin; None: the newest."""
    streaming: bool = False
    """Read it over the network each time instead of keeping a copy of the text; its tokens are
    kept all the same."""


class DiskSource(Section):
    """A `Dataset` or `DatasetDict` that `save_to_disk` wrote."""

    kind: ClassVar[str] = "disk"

    disk: PathText
    """Its directory."""
    split: str = "train"
    """Split to read from a `DatasetDict`."""


class ImagesSource(Section):
    """Images in a folder for each class, whose records have an `image` and a `label`."""

    kind: ClassVar[str] = "images"

    images: PathText
    """Directory of the folders, whose names are the labels."""


class PairFiles(Section):
    """Two text files, of which line n and line n are one record."""

    source: PathText
    """File of the column `source`; `.gz`, `.zst`, `.bz2` and `.xz` are unpacked as they are
    read."""
    target: PathText
    """File of the column `target`, with as many lines."""


class PairsSource(Section):
    """Two text files for objectives that read records."""

    kind: ClassVar[str] = "pairs"

    pairs: PairFiles
    """The files."""


class LanguageSample(Section):
    """A sample from the built-in language; each sentence is a document."""

    sentences: PositiveInt
    """Number of sentences."""
    seed: Seed = 0
    """Seed of the sample."""


class LanguageSource(Section):
    """The built-in artificial language as a corpus."""

    kind: ClassVar[str] = "language"

    language: LanguageSample
    """The sample to draw."""


NamedSource = (
    Annotated[HubSource, Tag("hub")]
    | Annotated[DiskSource, Tag("disk")]
    | Annotated[ImagesSource, Tag("images")]
    | Annotated[LanguageSource, Tag("language")]
    | Annotated[PairsSource, Tag("pairs")]
)
