"""Tokenization of a split into a token stream, in parallel and cached.

The cache key is a hash of the content of the source's files, the draw of documents, interventions
and tokenizer. The stream is written in batches, so that memory never holds the whole text or all
tokens.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from model_foundry.data.corpus.splits import Split
from model_foundry.data.sources.text_batch import NONE, Numbered, Pieces, pieces
from model_foundry.data.tokens.document_frame import document_frame
from model_foundry.data.tokens.encoding import CannotBeCutError, Encoder
from model_foundry.data.tokens.plain_texts import trims_offsets
from model_foundry.data.tokens.progress import Progress
from model_foundry.data.tokens.stream_writer import EncodedBatch, StreamWriter, first_bits
from model_foundry.data.tokens.text_bytes import text_digests
from model_foundry.data.tokens.token_stream import TokenStream, read_stream, write_facts
from model_foundry.errors import DataError
from model_foundry.foundation.atomic_files import commit_directory
from model_foundry.foundation.cache import building
from model_foundry.foundation.file_hashes import FileHashes
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.foundation.process_pool import map_in_order
from model_foundry.interventions.chain import Report

logger = logging.getLogger(__name__)

CACHE_FORMAT = 5  # incremented when the arrays or facts change their meaning


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
                    encoder.rules.clear()
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
    if not split.chain:
        cut = pieces(batch for _, batch in split.numbered())
        whole = (Pieces.whole(batch) for _, batch in split.whole())
        yield from map_in_order(
            lambda batch: _encode(encoder, batch, Report()),
            cut if encoder.cuts else whole,
            processes=processes,
        )
        return

    def work(documents: Numbered) -> EncodedBatch:
        (_, batch), report = split.changed(documents)
        filled = batch.filled()
        rest = batch.take(filled)
        cut = next(pieces([rest]), None) if encoder.cuts else None
        encoded = _encode(encoder, cut or Pieces.whole(rest), report)
        return replace(encoded, emptied=int((~filled).sum()))

    yield from map_in_order(work, split.whole(), processes=processes)


def _encode(encoder: Encoder, batch: Pieces, report: Report) -> EncodedBatch:
    try:
        return EncodedBatch(encoder.encode(batch), batch.closes, report)
    except UnicodeEncodeError as error:
        start = max([0, error.start - 20, *batch.ends[batch.ends <= error.start].tolist()])
        raise DataError(
            f"a document has a lone surrogate after {batch.text[start : error.start]!r}, which is "
            "not text; correct the encoding of the source"
        ) from error


def _shared(split: Split, without: TokenStream, processes: int) -> NDArray[np.int64]:
    """Return the numbers of the documents of a split that are in another stream."""
    split.excluded = None
    split.plan(processes)
    known = np.unique(without.document_digests)

    def shared(documents: Numbered) -> NDArray[np.int64]:
        numbers, batch = split.changed(documents).documents if split.chain else documents
        return numbers[np.isin(first_bits(text_digests(batch)), known)]

    found = map_in_order(shared, split.once(), processes=processes)
    return np.sort(np.concatenate([NONE, *found]))
