"""Corpora and tokenizers for tests."""

import random
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from model_foundry.config import DataConfig
from model_foundry.data.corpus.corpus import Component, Corpus
from model_foundry.data.corpus.splits import Split
from model_foundry.data.sources.base import Hash, Source
from model_foundry.data.sources.text_batch import Pieces, TextBatch, pieces
from model_foundry.data.tokens.token_stream import TokenStream
from model_foundry.data.tokens.tokenize import tokenize_split
from model_foundry.foundation.file_hashes import FileHashes
from model_foundry.interventions.chain import Chain
from model_foundry.tokenizer.tokenizer_factory import TokenizerFactory

WORDS = ["the", "a", "dog", "cat", "near", "old", "house", "chases", "tall", "naïve", "café"]
WORDS += ["東京", "and,", "or.", "It's", "42", "🗼"]
SPACES = [" "] * 12 + ["  ", "\n", "\t", "\u3000", "\u2003", "\n\n ", "\u00a0"]
SIZES = {"bpe": 300, "wordpiece": 120, "character": 100, "sentencepiece": 330}


def text_of(words: int, seed: int) -> str:
    """Return a text with words of several scripts and spaces of many kinds."""
    draw = random.Random(seed)
    return "".join(draw.choice(WORDS) + draw.choice(SPACES) for _ in range(words))


def documents_of(number: int, seed: int = 0) -> list[str]:
    """Return different short documents."""
    return [f"{text_of(5 + n % 7, seed * 10_007 + n)}{n}" for n in range(number)]


def tokenizer_of(kind: str, texts: Sequence[str] | None = None) -> PreTrainedTokenizerFast:
    """Train a tokenizer of a kind."""
    return TokenizerFactory.train(
        kind, documents=texts or [text_of(3000, 0)], vocab_size=SIZES.get(kind, 400)
    )


class Texts(Source):
    """Documents of a list, in batches of `size` characters."""

    def __init__(self, documents: Iterable[str], *, size: int = 64, name: str = "texts") -> None:
        self.documents, self.size, self.name = list(documents), size, name
        self.readings = 0

    def batches(self) -> Iterator[TextBatch]:
        self.readings += 1
        text, ends = TextBatch.of(self.documents)
        for start in range(0, len(text), self.size) or [0]:
            stop = start + self.size
            inside = ((ends > start) | (start == 0)) & (ends <= stop)
            yield TextBatch(text[start:stop], ends[inside] - start)

    def cache_key(self, sha256: Hash) -> Any:
        return [_digest(text) for text in self.documents]


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def split_of(
    *components: Component | Sequence[str], role: str = "all", seed: int = 0, **settings: Any
) -> Split:
    """Return a split of a corpus of lists of documents; `settings` are those of the data."""
    parts = [c if isinstance(c, Component) else Component(Texts(c)) for c in components]
    data = DataConfig.model_validate({"train": "unread.txt", **settings})
    corpus = Corpus(parts, data, seed)
    name = "validation" if role == "held out" else "train"
    return Split(name, corpus, role, Chain.of(data.interventions, name, seed))


def joined(batches: Iterable[TextBatch]) -> list[str]:
    """Return the documents of batches, of which the last one ends."""
    documents, parts = [], []
    for text, ends in (part for batch in batches for part in batch.each()):
        parts.append(text)
        if ends:
            documents.append("".join(parts))
            parts = []
    assert not parts
    return documents


def texts_of(split: Split, processes: int = 0) -> list[str]:
    """Read the documents of a split."""
    return joined(split.texts(processes))


def pieces_of(*texts: str) -> Pieces:
    """Return documents as they are tokenized."""
    return next(pieces([TextBatch.of(texts)]), Pieces.whole(TextBatch.of([])))


def pieces_with(*parts: tuple[str, bool], before: str = "") -> Pieces:
    """Return pieces with these texts, each with True if its document ends with it."""
    text, ends = TextBatch.of([text for text, _ in parts])
    return Pieces(text, ends, np.array([closes for _, closes in parts], np.bool_), before)


def stream_from(
    source: Split | Sequence[str], tokenizer: PreTrainedTokenizerFast, cache: Path, **options: Any
) -> TokenStream:
    """Tokenize documents, or find them in the cache."""
    split = source if isinstance(source, Split) else split_of(source)
    return tokenize_split(split, tokenizer, cache=cache, hashes=FileHashes(cache), **options)
