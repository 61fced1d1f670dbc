"""Texts in columns of records: their tokenizer, and their ids."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.examples import Ragged
from model_foundry.foundation.labels import IGNORE_INDEX
from model_foundry.objectives.processors import TextTokenizer
from model_foundry.objectives.text import load_named_tokenizer
from model_foundry.tokenizer.framing import block_frame, framed
from model_foundry.tokenizer.tokenizer_factory import train_on_texts

logger = logging.getLogger(__name__)


def column_tokenizer(config: ExperimentConfig, texts: Sequence[str]) -> TextTokenizer:
    """Load the tokenizer that an experiment names, or train it on texts; it frames each text.

    Raises:
        ConfigError: a setting of the tokenizer does not fit these texts.
        DataError: it cannot be loaded or trained, or has no tokens to frame a text with.
    """
    path = config.tokenizer.path
    settings = config.tokenizer
    tokenizer = train_on_texts(settings, texts) if path is None else load_named_tokenizer(settings)
    return TextTokenizer(framed(tokenizer, block_frame(tokenizer)), path)


class TextEncoder:
    """The ids of texts, framed and cut to a length; counts what is cut.

    Special tokens are not found in a text.

    Args:
        tokenizer: frames each text.
        length: number of ids of an example at most, special tokens included.
        frames: False leaves the frame out, and one place free for an end token.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, length: int, *, frames: bool = True
    ) -> None:
        self.length, self.seen, self.cut, self._frames = length, 0, 0, frames
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.encode_special_tokens = True
        self._backend.no_padding()
        self._backend.enable_truncation(length if frames else length - 1)

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Ragged:
        """Return the ids of texts, or of each with its pair, of which the longer is cut first."""
        given = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        return _ids_of(self._encode(given))

    def encode_words(
        self, rows: Sequence[Sequence[str]], labels: Sequence[NDArray[np.int64]]
    ) -> tuple[Ragged, Ragged]:
        """Return the ids of texts, given as words, and a label for each id.

        The first piece of a word has its label, and all other ids `IGNORE_INDEX`.

        Args:
            rows: the words of each text, which is read with a space between them.
            labels: the number of each word's label.
        """
        encodings = self._encode([" ".join(words) for words in rows])
        targets = [_aligned(*each) for each in zip(encodings, rows, labels, strict=True)]
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
                "%s of %s texts are cut to data.max_sequence_length (=%d) tokens; raise it to read "
                "them whole",
                *(f"{self.cut:,}", f"{self.seen:,}", self.length),
            )


def _ids_of(encodings: Sequence[Encoding]) -> Ragged:
    return Ragged.of([np.array(encoding.ids, np.int64) for encoding in encodings])


def _aligned(
    encoding: Encoding, words: Sequence[str], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return a label for each id of a text of words with a space between them.

    A word that was cut, or that the tokenizer drops, has no id.
    """
    sizes = np.array([len(word) for word in words], np.int64)
    starts = np.cumsum(sizes + 1) - sizes - 1
    targets = np.full(len(encoding.ids), IGNORE_INDEX, np.int64)
    spans = np.array(encoding.offsets, np.int64).reshape(-1, 2)
    inside = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
    # a piece may begin with the space before its word, but ends after the word has begun
    pieces = np.searchsorted(spans[inside, 1], starts, side="right")
    found = np.flatnonzero(pieces < len(inside))
    places = inside[pieces[found]]
    here = spans[places, 0] < (starts + sizes)[found]
    targets[places[here]] = labels[found[here]]
    return targets
