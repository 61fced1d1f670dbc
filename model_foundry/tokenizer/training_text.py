"""Shared by the trainers of all kinds: reading of documents, the result, checks of its size."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from model_foundry.errors import ConfigError, DataError
from model_foundry.foundation.interrupts import check_interrupt

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedTokenizer:
    """A tokenizer, and the files (name -> content) that are saved beside it as its provenance."""

    tokenizer: PreTrainedTokenizerFast
    extra_files: dict[str, bytes] = field(default_factory=dict)


def _read(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        try:
            yield path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: byte {error.start} is not UTF-8; convert the file to UTF-8."
            ) from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error


def read_files(input_files: str | Path | Iterable[str | Path]) -> Iterator[str]:
    """Return the text of each file as one document, read when it is asked for, newlines as `\\n`.

    Raises:
        DataError: a file does not exist (at once), or is not UTF-8 text (when it is read).
    """
    given = [input_files] if isinstance(input_files, str | Path) else input_files
    paths = [Path(path) for path in given]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file; give the path of a UTF-8 text file.")
    return _read(paths)


def check_text(documents: Iterable[str]) -> Iterator[str]:
    """Yield the documents, refusing what no tokenizer can be trained on.

    Raises:
        DataError: a document that has no UTF-8 form, or not a single character in all of them.
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
                "repair the source's encoding."
            ) from error
        num_characters += len(document)
        yield document
    if num_characters == 0:
        raise DataError(
            "The training documents hold no text to train a tokenizer on; check data.train."
        )


def require_vocab_size(asked: int, minimum: int, reason: str) -> None:
    """Refuse a vocabulary that cannot hold what this kind of tokenizer always has.

    Raises:
        ConfigError: `asked` is below `minimum`.
    """
    if asked < minimum:
        raise ConfigError(
            f"tokenizer.vocab_size: {asked} is too small; {reason} need at least {minimum}."
        )


def report_vocab_size(asked: int, trained: int) -> None:
    """Warn when the corpus was too small for the vocabulary that was asked for."""
    if trained < asked:
        logger.warning(
            "tokenizer.vocab_size: asked for %d, but the training text yields only %d tokens; "
            "the vocabulary has %d.",
            asked,
            trained,
            trained,
        )
