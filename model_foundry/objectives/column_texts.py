"""Texts in columns of records: their tokenizer, and their ids."""

import logging
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from model_foundry.config import ExperimentConfig
from model_foundry.data.batches.examples import Ragged
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
        encodings = self._backend.encode_batch(given, add_special_tokens=self._frames)
        self.seen += len(encodings)
        self.cut += sum(bool(encoding.overflowing) for encoding in encodings)
        return Ragged.of([np.array(encoding.ids, np.int64) for encoding in encodings])

    def warn(self) -> None:
        """Warn once of all texts that were cut."""
        if self.cut:
            logger.warning(
                "%s of %s texts are cut to data.max_sequence_length (=%d) tokens; raise it to read "
                "them whole",
                *(f"{self.cut:,}", f"{self.seen:,}", self.length),
            )
