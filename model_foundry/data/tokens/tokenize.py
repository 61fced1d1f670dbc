"""Tokenization of a split into a token stream, in parallel and cached.

The cache key is a hash of the content of the source's files, the draw of documents, interventions
and tokenizer. The stream is written in batches, so that memory never holds the whole text or all
tokens.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from model_foundry.data.corpus.splits import Document, Split, in_batches
from model_foundry.data.sources.fragments import Fragment, Piece, pieces, whole_documents
from model_foundry.data.tokens.document_frame import document_frame
from model_foundry.data.tokens.encoding import CannotBeCutError, Encoder, trims_offsets
from model_foundry.data.tokens.progress import Progress
from model_foundry.data.tokens.stream_writer import EncodedBatch, StreamWriter, first_bits
from model_foundry.data.tokens.text_bytes import text_digest
from model_foundry.data.tokens.token_stream import TokenStream, read_stream, write_facts
from model_foundry.errors import DataError
from model_foundry.foundation.atomic_files import commit_directory
from model_foundry.foundation.cache import building
from model_foundry.foundation.file_hashes import FileHashes
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.foundation.process_pool import batched, map_in_order
from model_foundry.interventions.chain import Report

logger = logging.getLogger(__name__)

CACHE_FORMAT = 4  # incremented when the arrays or facts change their meaning


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a SHA-256 that identifies the tokens that a tokenizer gives for a corpus.

    A tokenizer has the same hash for all objectives: the frame of a text is left out.
    """
    before, after = document_frame(tokenizer)
    pipeline = json.loads(tokenizer.backend_tokenizer.to_str())
    unused = {"post_processor": trims_offsets(pipeline), "truncation": None, "padding": None}
    state = {"tokenizer": pipeline | unused, "before": before, "after": after}
    return sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def tokenize_split(
    split: Split,
    tokenizer: PreTrainedTokenizerBase,
    *,
    cache: Path,
    hashes: FileHashes,
    processes: int = 0,
    without: TokenStream | None = None,
) -> TokenStream:
    """Tokenize a split into a stream, or find it in the cache.

    Args:
        cache: directory of all streams.
        processes: number of worker processes; 0: none.
        without: a stream whose documents are left out of this one.

    Raises:
        DataError: there is no text, or it cannot be used.
    """
    cache_key = [
        CACHE_FORMAT,
        split.cache_key(hashes.of_source),
        tokenizer_hash(tokenizer),
        without.text_sha256 if without else None,
    ]
    digest = sha256(json.dumps(cache_key, sort_keys=True).encode()).hexdigest()
    place = cache / "tokens" / digest[:32]
    with building(place, sha256_of=hashes) as missing:
        if missing:
            logger.info("tokenizing the %s text", split.name)
            encoder = Encoder(tokenizer)
            split.excluded = None if without is None else _shared(split, without, processes)

            def build() -> None:
                with commit_directory(place, sha256_of=hashes) as aside:
                    largest = len(tokenizer) - 1
                    _tokenize(split, encoder, aside, largest=largest, processes=processes)

            with blocking_section(f"the tokenization of the {split.name} text"):
                try:
                    build()
                except CannotBeCutError:
                    logger.info("the tokenizer joins tokens across spaces: it gets whole documents")
                    encoder.cuts = False
                    build()
    hashes.keep()
    return read_stream(place)


def _tokenize(
    split: Split, encoder: Encoder, directory: Path, *, largest: int, processes: int
) -> None:
    split.plan(processes)
    with (
        Progress(f"tokenizing the {split.name} text") as progress,
        closing(StreamWriter(directory, largest)) as writer,
    ):
        for batch in _encoded(split, encoder, processes):
            writer.append(batch)
            progress.show(writer.num_bytes, writer.documents)
    if not writer.documents:
        raise split.empty_error()
    write_facts(directory, writer.facts(split))


def _encoded(split: Split, encoder: Encoder, processes: int) -> Iterator[EncodedBatch]:
    """Yield the documents of a split as tokens, in order."""
    chain = split.chain
    if chain:

        def work(documents: list[Document]) -> EncodedBatch:
            applied = chain.apply(documents)
            texts = [text for _, text in applied.texts if text and not text.isspace()]
            cut = list(_cut(map(Fragment, texts), encoder))
            emptied = len(applied.texts) - len(texts)
            return replace(_encode(encoder, cut, applied.report), emptied=emptied)

        yield from map_in_order(work, in_batches(split.whole()), processes=processes)
    else:
        cut = _cut((fragment for _, fragment in split.numbered()), encoder)
        batches = batched(cut, lambda piece: len(piece.text))
        yield from map_in_order(
            lambda batch: _encode(encoder, batch, Report()), batches, processes=processes
        )


def _cut(fragments: Iterable[Fragment], encoder: Encoder) -> Iterator[Piece]:
    return pieces(fragments) if encoder.cuts else map(Piece, whole_documents(fragments))


def _encode(encoder: Encoder, batch: Sequence[Piece], report: Report) -> EncodedBatch:
    try:
        encoded = encoder.encode(batch)
    except UnicodeEncodeError as error:
        before = error.object[max(error.start - 20, 0) : error.start]
        raise DataError(
            f"a document has a lone surrogate after {before!r}, which is not text; correct the "
            "encoding of the source"
        ) from error
    return EncodedBatch(encoded, [piece.ends for piece in batch], report)


def _shared(split: Split, without: TokenStream, processes: int) -> NDArray[np.int64]:
    """Return the numbers of the documents of a split that are in another stream."""
    split.excluded = None
    split.plan(processes)
    known = np.unique(without.document_digests)

    def shared(documents: list[Document]) -> list[int]:
        texts = split.chain.apply(documents).texts if split.chain else documents
        found = np.isin(first_bits([text_digest(text) for _, text in texts]), known)
        return [number for (number, _), both in zip(texts, found, strict=True) if both]

    found = map_in_order(shared, in_batches(split.once()), processes=processes)
    return np.array(sorted(number for numbers in found for number in numbers), dtype=np.int64)
