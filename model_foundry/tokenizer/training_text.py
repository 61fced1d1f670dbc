"""Training documents, their checks, and the result of a trainer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from model_foundry.errors import ConfigError, DataError
from model_foundry.foundation.interrupts import check_interrupt


@dataclass(frozen=True)
class TrainedTokenizer:
    """A tokenizer, and further files (name -> content) that are saved with it."""

    tokenizer: PreTrainedTokenizerFast
    extra_files: dict[str, bytes] = field(default_factory=dict)


def read_files(input_files: str | Path | Iterable[str | Path]) -> Iterator[str]:
    """Yield the text of each file as one document, with newlines as `\\n`.

    Raises:
        DataError: a file does not exist, or is not UTF-8 text.
    """
    given = [input_files] if isinstance(input_files, str | Path) else input_files
    for path in map(Path, given):
        if not path.is_file():
            raise DataError(f"{path}: no such file; give the path of a UTF-8 text file.")
        try:
            yield path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: byte {error.start} is not UTF-8; convert the file to UTF-8."
            ) from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error


def check_text(documents: Iterable[str]) -> Iterator[str]:
    """Yield the documents, and check them.

    Raises:
        DataError: a document cannot be encoded as UTF-8, or all documents are empty.
        Interrupted: a signal came.
    """
    num_characters = 0
    for index, document in enumerate(documents):
        check_interrupt()
        try:
            document.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"Document {index}: character {error.start} is a lone surrogate, which is no text; "
                "correct the encoding of the source."
            ) from error
        num_characters += len(document)
        yield document
    if num_characters == 0:
        raise DataError(
            "The training documents hold no text to train a tokenizer on; check data.train."
        )


def require_vocab_size(size: int, minimum: int, reason: str) -> None:
    """Raise ConfigError for a vocabulary without room for the entries that are always in it."""
    if size < minimum:
        raise ConfigError(
            f"tokenizer.vocab_size: {size} is too small; {reason} need at least {minimum}."
        )
