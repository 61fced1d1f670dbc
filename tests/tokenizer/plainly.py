"""Ids and bytes of texts without the frames of documents."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from model_foundry.data.tokens.encoding import Encoded, Encoder
from tests.data.corpora import pieces_with


def encode_plainly(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[Encoded]:
    """Encode texts as inner parts of documents."""
    encoder = Encoder(tokenizer)
    return [encoder.encode(pieces_with((text, False), before=" ")) for text in texts]


def is_lossless(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> bool:
    """Return True if decoding the ids gives all texts back."""
    ids = [encoded.ids.tolist() for encoded in encode_plainly(tokenizer, texts)]
    decoded = [tokenizer.decode(row, clean_up_tokenization_spaces=False) for row in ids]
    return decoded == list(texts)
