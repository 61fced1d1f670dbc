"""Token streams: documents tokenised once, kept on disk, cut into blocks of equal length.

A stream joins its documents as the tokenizer frames a text of its own: BOS first where the
tokenizer's template puts one, EOS (or SEP) where the document ends. Beside each token stands the
number of UTF-8 bytes and of words of the source text that it accounts for, so that a loss over any
tokens can be given per byte. Streams are cached by the content of their text and tokenizer.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from model_foundry.data.encoding import encode_documents
from model_foundry.data.sources.files import content_hash
from model_foundry.durable import building, commit_directory
from model_foundry.errors import DataError
from model_foundry.foreign import one_line, read_json, require_harmless
from model_foundry.signals import during, poll

logger = logging.getLogger(__name__)

CACHE_FORMAT = 2  # raised whenever the arrays below change their meaning
BATCH = 256  # documents in one call of the tokenizer
WHITE_SPACE = np.array([c for c in range(0x3001) if chr(c).isspace()], dtype=np.uint32)


@dataclass(frozen=True)
class TokenStream:
    """A tokenised text. The three arrays have one entry a token and may be memory-mapped."""

    tokens: NDArray[np.unsignedinteger]
    """Token ids."""
    num_bytes: NDArray[np.unsignedinteger]
    """UTF-8 bytes of source text that a token accounts for; 0 for BOS, EOS and SEP."""
    num_words: NDArray[np.unsignedinteger]
    """Words (pieces between white space) that begin in a token."""
    documents: int
    """Number of documents."""
    text_sha256: str
    """SHA-256 over the documents that were tokenised."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def nbytes(self) -> int:
        """Bytes of the three arrays."""
        return self.tokens.nbytes + self.num_bytes.nbytes + self.num_words.nbytes

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the whole text."""
        return int(self.num_bytes.sum(dtype=np.int64))

    @property
    def words(self) -> int:
        """Words of the whole text."""
        return int(self.num_words.sum(dtype=np.int64))


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the SHA-256 over what the tokenizer does to a text."""
    state = {
        "tokenizer": json.loads(tokenizer.backend_tokenizer.to_str()),
        **document_frame(tokenizer),
    }
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def document_frame(tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """Return the ids before and after each document of a stream.

    Raises:
        DataError: the tokenizer has nothing to end a document with.
    """
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if end is None:
        raise DataError(
            "the tokenizer has neither an eos nor a sep token to end a document with; "
            "give it one, or train another"
        )
    bos = tokenizer.bos_token_id
    starts = bos is not None and tokenizer("")["input_ids"][:1] == [bos]
    return {"before": [bos] if starts else [], "after": [end]}


def stream_of(
    documents: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, cache: Path
) -> TokenStream:
    """Tokenise documents into a stream, or find them in the cache.

    Args:
        cache: directory in which streams are kept, each under the hash of what it was made of.
    """
    text_sha256 = content_hash(documents)
    made_of = f"{CACHE_FORMAT} {text_sha256} {tokenizer_hash(tokenizer)}"
    place = cache / "tokens" / hashlib.sha256(made_of.encode()).hexdigest()[:32]
    with building(place) as missing:
        if missing:
            logger.info("tokenising %s documents", f"{len(documents):,}")
            with during("the tokenisation of the corpus"):
                stream = _tokenise(documents, tokenizer, text_sha256)
            with commit_directory(place, needed=stream.nbytes) as aside:
                _write(stream, aside)
    return _read(place)


def _tokenise(
    documents: Sequence[str], tokenizer: PreTrainedTokenizerBase, text_sha256: str
) -> TokenStream:
    frame = document_frame(tokenizer)
    before, after = np.array(frame["before"], np.int64), np.array(frame["after"], np.int64)
    no_text = [np.zeros(len(ids), np.int64) for ids in (before, after)]
    tokens: list[NDArray[Any]] = []
    lengths: list[NDArray[Any]] = []
    words: list[NDArray[Any]] = []
    for start in range(0, len(documents), BATCH):
        poll()
        texts = documents[start : start + BATCH]
        for text, encoded in zip(texts, encode_documents(tokenizer, texts), strict=True):
            tokens += [before, encoded.ids, after]
            lengths += [no_text[0], encoded.num_bytes, no_text[1]]
            words += [no_text[0], words_beginning_in(text, encoded.num_bytes), no_text[1]]
    return TokenStream(
        tokens=_compact(tokens, largest=len(tokenizer) - 1),
        num_bytes=_compact(lengths),
        num_words=_compact(words),
        documents=len(documents),
        text_sha256=text_sha256,
    )


def words_beginning_in(text: str, num_bytes: NDArray[Any]) -> NDArray[Any]:
    """Count the words that begin in each token's stretch of the text's UTF-8 bytes."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    space = np.isin(codes, WHITE_SPACE)
    begins = ~space & np.concatenate([[True], space[:-1]])
    widths = 1 + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF)
    begin_bytes = (np.cumsum(widths) - widths)[begins]
    begun = np.searchsorted(begin_bytes, np.cumsum(num_bytes), side="left")
    return np.diff(begun, prepend=0)


def _compact(parts: list[NDArray[Any]], largest: int | None = None) -> NDArray[np.unsignedinteger]:
    """Join arrays in the smallest unsigned type that holds their values; two bytes at the least."""
    joined = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    top = int(joined.max(initial=0)) if largest is None else largest
    return joined.astype(np.uint16 if top < 2**16 else np.uint32)


def _write(stream: TokenStream, directory: Path) -> None:
    for name in ("tokens", "num_bytes", "num_words"):
        np.save(directory / f"{name}.npy", getattr(stream, name), allow_pickle=False)
    facts = {"documents": stream.documents, "text_sha256": stream.text_sha256}
    (directory / "stream.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _read(directory: Path) -> TokenStream:
    """Map a cached stream; a cache is found by its name, so what it holds is checked here."""
    names = [f"{name}.npy" for name in ("tokens", "num_bytes", "num_words")]
    require_harmless(directory, *names, error=DataError)
    remedy = f"remove {directory}, and it is made again"
    facts = read_json(directory, "stream.json", error=DataError, remedy=remedy)
    try:
        # np.load would open archives and look for pickles too
        tokens, num_bytes, num_words = arrays = [
            np.lib.format.open_memmap(directory / name, mode="r") for name in names
        ]
        stream = TokenStream(tokens, num_bytes, num_words, **facts)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(
            f"{directory}: is no token stream ({one_line(error)}); {remedy}."
        ) from error
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1 or any(array.ndim != 1 or array.dtype.kind != "u" for array in arrays):
        raise DataError(f"{directory}: is no token stream (its arrays are others); {remedy}.")
    return stream
