"""Documents: read from text files, from a data set, or from the built-in language, and split.

A document is a string. Newlines are `\\n` whatever the file had, a byte-order mark is dropped, and
nothing but a newline ends a line. Nothing here knows of tokens.
"""

import glob
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_foundry.config import DataConfig, HubSource, LanguageSource, Source
from model_foundry.errors import DataError
from model_foundry.language import load_language
from model_foundry.signals import poll

# What files begin with that are often taken for UTF-8 text, what they are, and what helps.
MISTAKEN = (
    (b"\xff\xfe", "UTF-16", "convert it with `iconv -f utf-16 -t utf-8`"),
    (b"\xfe\xff", "UTF-16", "convert it with `iconv -f utf-16 -t utf-8`"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it with `gunzip`"),
)
BINARY_REMEDY = "give plain UTF-8 text"


@dataclass(frozen=True)
class Splits:
    """The documents of an experiment."""

    train: list[str]
    validation: list[str]
    test: list[str] | None
    """None where the experiment names no test text."""


def read_splits(data: DataConfig, *, seed: int) -> Splits:
    """Read every document of an experiment and hold out what validates it.

    Args:
        seed: draws the validation documents where `data.split_by` is `document`.

    Raises:
        DataError: a source is missing, empty or not text, or cannot be split.
    """
    train = read_documents(data.train, data)
    if data.validation is not None:
        validation = read_documents(data.validation, data)
    elif data.split_by == "position":
        train, validation = split_by_position(train, data.validation_fraction)
    else:
        train, validation = split_by_document(train, data.validation_fraction, seed=seed)
    return Splits(train, validation, read_documents(data.test, data) if data.test else None)


def read_documents(source: Source, data: DataConfig) -> list[str]:
    """Read the documents of one source, in order; those of white space only are left out.

    Raises:
        DataError: the source is missing, empty or not text.
    """
    if isinstance(source, LanguageSource):
        sample = source.language
        return list(load_language().sample(sample.sentences, seed=sample.seed))
    texts = (
        _read_hub(source, data.text_column)
        if isinstance(source, HubSource)
        else (d for path in resolve_files(source) for d in cut(read_text(path), data.document))
    )
    documents = [text for text in texts if text and not text.isspace()]
    if not documents:
        raise DataError(f"{describe(source)}: holds no text; name a corpus that is not empty")
    return documents


def describe(source: Source) -> str:
    """Return how a message names a source."""
    if isinstance(source, HubSource):
        return source.hub
    return source if isinstance(source, str) else ", ".join(map(str, source))


def resolve_files(source: str | Sequence[str]) -> list[Path]:
    """Return the text files that a path, a glob, a folder or a list of these names.

    Raises:
        DataError: one of them names no file.
    """
    patterns = [source] if isinstance(source, str) else source
    return list(dict.fromkeys(path for pattern in patterns for path in _files_of(pattern)))


def _files_of(pattern: str) -> list[Path]:
    try:
        path = Path(pattern).expanduser()
        is_file = path.is_file()
    except (OSError, RuntimeError) as error:  # a name too long, or the home of an unknown user
        raise DataError(f"{pattern}: is no path ({error})") from error
    if is_file:
        return [path]
    if path.is_dir():
        visible = (p for p in path.rglob("*.txt") if not p.name.startswith("."))
        found = sorted(p for p in visible if p.is_file())
        if not found:
            raise DataError(f"{pattern}: the folder holds no .txt file; name the files by a glob")
        return found
    if path.exists():
        raise DataError(f"{pattern}: is not a regular file; name a text file or a folder")
    found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
    if not found:
        raise DataError(f"{pattern}: no such file, folder or match; check the path")
    return found


def read_text(path: Path) -> str:
    """Read a UTF-8 text file.

    Raises:
        DataError: it cannot be opened, is binary, or is not UTF-8; the offset is in bytes.
        Interrupted: a signal came.
    """
    poll()
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    for mark, kind, remedy in MISTAKEN:
        if raw.startswith(mark):
            raise DataError(f"{path}: {kind} at byte 0, not UTF-8 text; {remedy}")
    zero = raw.find(b"\0")
    if zero >= 0:
        raise DataError(f"{path}: binary, with a zero byte at byte {zero}; {BINARY_REMEDY}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 at byte {error.start} (0x{raw[error.start]:02x}); {BINARY_REMEDY}, "
            f"such as `iconv -f latin1 -t utf-8` makes"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def cut(text: str, document: str) -> Iterator[str]:
    """Cut the text of a file into documents: the whole `file`, each `line` or each `paragraph`."""
    if document == "file":
        yield text
    elif document == "line":
        yield from text.split("\n")
    else:
        yield from _paragraphs(text.split("\n"))


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    paragraph: list[str] = []
    for line in lines:
        if line and not line.isspace():
            paragraph.append(line)
        elif paragraph:
            yield "\n".join(paragraph)
            paragraph = []
    if paragraph:
        yield "\n".join(paragraph)


def _read_hub(source: HubSource, column: str) -> Iterator[str]:
    import datasets  # heavy, and only this kind of source needs it
    from datasets.exceptions import DatasetGenerationError

    try:
        rows = datasets.load_dataset(
            source.hub, source.name, split=source.split, revision=source.revision
        )
    except (OSError, ValueError, DatasetGenerationError) as error:
        # what is wrong with the file stands in the cause of a generation error
        reason = " ".join(str(error.__cause__ or error).split())
        raise DataError(f"{source.hub}: cannot be loaded as a data set ({reason})") from error
    if column not in rows.column_names:
        known = ", ".join(rows.column_names)
        raise DataError(f"{source.hub}: has no column data.text_column={column!r}, but {known}")
    for number, text in enumerate(rows[column]):
        poll()
        if not isinstance(text, str):
            raise DataError(f"{source.hub}: row {number} of {column!r} is {text!r}, not text")
        yield text


def split_by_document(
    documents: Sequence[str], fraction: float, *, seed: int
) -> tuple[list[str], list[str]]:
    """Hold out a share of the documents, drawn by seed; both parts keep the order of the corpus.

    Raises:
        DataError: there is only one document.
    """
    if len(documents) < 2:
        raise DataError(
            "the corpus is a single document, so none can be held out; set data.split_by=position, "
            "or data.document=line or paragraph, or give data.validation"
        )
    count = min(max(1, round(fraction * len(documents))), len(documents) - 1)
    drawn = np.random.default_rng([seed, len(documents)]).random(len(documents)).argsort()
    held_out = set(drawn[:count].tolist())
    train = [text for index, text in enumerate(documents) if index not in held_out]
    return train, [documents[index] for index in sorted(held_out)]


def split_by_position(documents: Sequence[str], fraction: float) -> tuple[list[str], list[str]]:
    """Hold out the last share of the characters; a document on the border is cut in two.

    Raises:
        DataError: one of the parts would be empty.
    """
    border = int(sum(map(len, documents)) * (1 - fraction))
    train, validation = [], []
    position = 0
    for text in documents:
        inside = min(max(border - position, 0), len(text))
        train.append(text[:inside])
        validation.append(text[inside:])
        position += len(text)
    train, validation = [t for t in train if t], [t for t in validation if t]
    if not train or not validation:
        raise DataError(
            f"data.validation_fraction (={fraction}) of {position} characters leaves an empty "
            "part; use a longer corpus or another fraction"
        )
    return train, validation


def content_hash(documents: Iterable[str]) -> str:
    """Return the SHA-256 over the documents and the borders between them, in hexadecimal."""
    digest = hashlib.sha256()
    for text in documents:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()
