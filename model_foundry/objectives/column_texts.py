"""Texts in columns of records: their tokenizer, and their ids."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from model_foundry.config import TokenizerConfig
from model_foundry.config.classification import WordPiece
from model_foundry.data.batches.examples import Ragged
from model_foundry.errors import ConfigError, DataError
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.objectives.processors import TextTokenizer
from model_foundry.objectives.text import load_named_tokenizer
from model_foundry.tokenizer.framing import block_frame, framed
from model_foundry.tokenizer.tokenizer_factory import train_on_texts

logger = logging.getLogger(__name__)

SETTING = re.compile(rf"\btokenizer\.(?={'|'.join(TokenizerConfig.model_fields)})")
Spans = NDArray[np.int64]  # (N, 2) the characters of each piece
Places = NDArray[np.int64]  # (W,) of each word
FindPieces = Callable[[Spans, Places, Places], Places]


def column_tokenizer(
    settings: TokenizerConfig, texts: Sequence[str], section: str = "tokenizer"
) -> TextTokenizer:
    """Load the tokenizer that an experiment names, or train it on texts; it frames each text.

    Args:
        section: name of the settings, for messages.

    Raises:
        ConfigError: a setting of the tokenizer does not fit these texts.
        DataError: it cannot be loaded or trained, or has no tokens to frame a text with.
    """
    with _naming(section):
        if (path := settings.path) is None:
            tokenizer = train_on_texts(settings, texts, section)
        else:
            tokenizer = load_named_tokenizer(settings)
    return TextTokenizer(framed(tokenizer, block_frame(tokenizer)), path)


@contextmanager
def _naming(section: str) -> Iterator[None]:
    """Name the settings in the message of an error by their section, not by `tokenizer`."""
    try:
        yield
    except (ConfigError, DataError) as error:
        raise type(error)(SETTING.sub(f"{section}.", f"{error}")) from error


class TextEncoder:
    """The ids of texts, framed and cut to a length; counts what is cut.

    Special tokens are not found in a text.

    Args:
        tokenizer: frames each text.
        length: number of ids of an example at most, special tokens included.
        setting: name of the field that gives this length, for the warning.
        noun: for the texts, in the warning.
        frames: False leaves the frame out, and one place free for an end token.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        length: int,
        setting: str = "data.max_sequence_length",
        *,
        noun: str = "texts",
        frames: bool = True,
    ) -> None:
        self.length, self.setting, self.seen, self.cut = length, setting, 0, 0
        self._noun = noun
        self._frames = frames
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.encode_special_tokens = True
        self._backend.no_padding()
        self._backend.enable_truncation(length if frames else length - 1)

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Ragged:
        """Return the ids of texts, or of each with its pair, of which the longer is cut first."""
        given = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        return _ids_of(self._encode(given))

    def encode_words(
        self,
        rows: Sequence[Sequence[str]],
        labels: Sequence[NDArray[np.int64]],
        piece: WordPiece = "first",
    ) -> tuple[Ragged, Ragged]:
        """Return the ids of texts, given as words, and a label for each id.

        One piece of a word has its label, and all other ids `IGNORE_INDEX`.

        Args:
            rows: the words of each text, which is read with a space between them.
            labels: the number of each word's label.
            piece: the piece with the label.
        """
        encodings = self._encode([" ".join(words) for words in rows])
        find = _first_pieces if piece == "first" else _last_pieces
        targets = [_aligned(*each, find) for each in zip(encodings, rows, labels, strict=True)]
        return _ids_of(encodings), Ragged.of(targets)

    def _encode(self, texts: Sequence[Any]) -> list[Encoding]:
        encodings: list[Encoding] = self._backend.encode_batch(
            texts, add_special_tokens=self._frames
        )
        self.seen += len(encodings)
        self.cut += sum(bool(encoding.overflowing) for encoding in encodings)
        return encodings

    def warn(self) -> None:
        """Warn once of all texts that were cut."""
        if self.cut:
            logger.warning(
                "%s of %s %s are cut to %s (=%d) tokens; raise it to read them whole",
                *(f"{self.cut:,}", f"{self.seen:,}", self._noun, self.setting, self.length),
            )


def _ids_of(encodings: Sequence[Encoding]) -> Ragged:
    return Ragged.of([np.array(encoding.ids, np.int64) for encoding in encodings])


def _aligned(
    encoding: Encoding, words: Sequence[str], labels: NDArray[np.int64], find: FindPieces
) -> NDArray[np.int64]:
    """Return a label for each id of a text of words with a space between them.

    A word that was cut, or that the tokenizer drops, has no id.
    """
    sizes = np.array([len(word) for word in words], np.int64)
    ends = np.cumsum(sizes + 1) - 1
    targets = np.full(len(encoding.ids), IGNORE_INDEX, np.int64)
    inside = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
    spans = np.array(encoding.offsets, np.int64).reshape(-1, 2)[inside]
    pieces = find(spans, ends - sizes, ends)
    found = np.flatnonzero((pieces >= 0) & (pieces < len(inside)))
    first, last = spans[pieces[found]].T
    here = (first < ends[found]) & (last > (ends - sizes)[found])
    targets[inside[pieces[found[here]]]] = labels[found[here]]
    return targets


def _first_pieces(spans: Spans, starts: Places, ends: Places) -> Places:
    """Return the index of the first piece of each word, perhaps one of a later word."""
    # a piece may begin with the space before its word, but ends after the word has begun
    return np.searchsorted(spans[:, 1], starts, side="right")


def _last_pieces(spans: Spans, starts: Places, ends: Places) -> Places:
    """Return the index of the last piece of each word, perhaps one of an earlier word, or -1.

    A word that was cut has lost its last piece.
    """
    length = spans[-1:, 1].sum()
    return np.where(ends <= length, np.searchsorted(spans[:, 0], ends, side="left") - 1, -1)
