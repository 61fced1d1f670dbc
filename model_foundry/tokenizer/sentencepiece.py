"""SentencePiece: pieces of raw text, spaces included; lossless on any text by default.

Kudo and Richardson 2018 (arXiv:1808.06226). Trained by their library on bounded pieces of the
documents, and converted to a fast tokenizer by `sentencepiece_conversion.py`.
"""

import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import sentencepiece

from model_foundry.errors import ConfigError, DataError
from model_foundry.foundation.messages import reason_of
from model_foundry.tokenizer.sentencepiece_conversion import ModelType, rebuild, special_starts
from model_foundry.tokenizer.special_tokens import GPT_STYLE, resolve_special_tokens, wrap
from model_foundry.tokenizer.training_text import TrainedTokenizer, require_vocab_size

Normalization = Literal["identity", "nfkc", "nmt_nfkc"]

_RESERVED = re.compile("[\0\u2585]")  # the trainer drops whole sentences that contain one of these
_MAX_PIECE = 4096  # characters given to the trainer at once
_MAX_PIECE_BYTES = 4 * 2 * _MAX_PIECE
_NUM_THREADS = 4  # constant, because the order of sums, and so the scores, depend on it
_ERRORS_ONLY = 2

# A long line is cut before a space, a run of 4096 characters without spaces anywhere.
_PIECES = re.compile(
    rf"\n{{0,64}}[^\n]{{1,{_MAX_PIECE}}}(?![^ \n])|\n{{0,64}}[^\n]{{1,{_MAX_PIECE}}}|\n{{1,64}}"
)


def split_for_training(document: str) -> list[str]:
    """Split a document into pieces that the trainer does not drop.

    A piece begins with the newlines before its line, because the trainer strips those at the end.
    """
    return _PIECES.findall(document)


def _training_text(
    documents: Iterable[str], *, starts: str, end: str, failures: list[Exception]
) -> Iterator[str]:
    """Yield the pieces for the trainer; append an error of the documents to `failures`.

    The trainer drops text that equals a special token, so such text is cut after its `starts`.
    `end`, a special token, protects the newlines at the end of a document from being stripped.
    """
    cut = re.compile(f"(?:{starts})")
    try:
        for document in documents:
            for part in _RESERVED.split(cut.sub(lambda found: found.group() + "\0", document)):
                for piece in split_for_training(part):
                    yield piece + end if piece.endswith("\n") else piece
    except Exception as error:
        failures.append(error)
        raise


def _explain(error: Exception, vocab_size: int) -> Exception:
    """Return the error of the user for a failure of the trainer."""
    reason = re.sub(r"^.*?\] *", "", reason_of(error))
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", reason):
        return ConfigError(
            f"tokenizer.vocab_size: {vocab_size} is too small; the special tokens, bytes and "
            f"characters of the training text need at least {found.group(1)}."
        )
    return DataError(
        f"SentencePiece cannot be trained with tokenizer.vocab_size {vocab_size} on this text: "
        f"{reason or 'no usable sentence is left'}. Check data.train and tokenizer.vocab_size."
    )


def _learn(
    documents: Iterable[str],
    *,
    specials: Mapping[str, str],
    vocab_size: int,
    model_type: ModelType,
    normalization: Normalization,
    byte_fallback: bool,
) -> bytes:
    """Train a model with the library; return it serialized."""
    trims_spaces = normalization != "identity"
    if trims_spaces:
        documents = (unicodedata.normalize("NFKC", document) for document in documents)
    end = "" if trims_spaces else specials["eos"]
    starts = special_starts(specials.values())
    failures: list[Exception] = []
    text = _training_text(documents, starts=starts, end=end, failures=failures)
    model = io.BytesIO()
    roles = ("pad", "unk", "bos", "eos")
    ids: dict[str, Any] = {f"{role}_id": index for index, role in enumerate(roles)}
    pieces: dict[str, Any] = {f"{role}_piece": specials[role] for role in roles}
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=text,
            model_writer=model,
            model_type=model_type,
            vocab_size=vocab_size,
            normalization_rule_name=normalization,
            remove_extra_whitespaces=trims_spaces,
            add_dummy_prefix=trims_spaces,
            byte_fallback=byte_fallback,
            hard_vocab_limit=False,
            max_sentence_length=_MAX_PIECE_BYTES,
            num_threads=_NUM_THREADS,
            minloglevel=_ERRORS_ONLY,
            # control symbols, the mask too, are never found in a text
            control_symbols=[token for role, token in specials.items() if role not in roles],
            **ids,
            **pieces,
        )
    except RuntimeError as error:
        raise (failures[0] if failures else _explain(error, vocab_size)) from error
    return model.getvalue()


def train(
    documents: Iterable[str],
    *,
    vocab_size: int,
    special_tokens: Mapping[str, str | None] | None = None,
    model_type: ModelType = "unigram",
    normalization: Normalization = "identity",
    byte_fallback: bool = True,
) -> TrainedTokenizer:
    """Learn a SentencePiece model from the documents.

    Args:
        documents: the training text; a newline is a character like any other.
        vocab_size: number of tokens, special tokens and bytes counted.
        special_tokens: role -> string, instead of the defaults.
        model_type: "unigram" (Kudo 2018, arXiv:1804.10959) or "bpe".
        normalization: "identity" keeps the text as it is, every space too. The others apply
            Unicode NFKC ("nmt_nfkc" turns newlines into spaces), put a space in front, and remove
            extra spaces.
        byte_fallback: encode characters outside the vocabulary (not in the training text, or among
            the rarest that make up 0.05% of it) as bytes; else they are unknown.

    Raises:
        ConfigError: `vocab_size` has no room for the characters of the text.
        DataError: the library cannot be trained on the text.
    """
    specials = resolve_special_tokens(GPT_STYLE, special_tokens)
    num_bytes = 256 if byte_fallback else 0
    reason = f"{len(specials)} special tokens, {num_bytes} bytes and one character"
    require_vocab_size(vocab_size, len(specials) + num_bytes + 1, reason)
    model = _learn(
        documents,
        specials=specials,
        vocab_size=vocab_size,
        model_type=model_type,
        normalization=normalization,
        byte_fallback=byte_fallback,
    )
    backend = rebuild(
        model,
        model_type=model_type,
        trims_spaces=normalization != "identity",
        special_tokens=specials,
    )
    return TrainedTokenizer(wrap(backend, GPT_STYLE, specials), {"tokenizer.model": model})
