"""Tokenization of a split into a token stream: once, in parallel, and cached.

The cache key is a hash of the content of the source's files, the draw of documents, interventions
and tokenizer. The stream is written a batch at a time, so that neither text nor tokens are ever in
memory as a whole.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from model_foundry.data.corpus.splits import Document, Split
from model_foundry.data.sources.fragments import Fragment, Piece, pieces
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

CACHE_FORMAT = 4  # raised whenever the arrays or facts change their meaning


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a SHA-256 that identifies the tokens that a tokenizer makes of a corpus.

    One tokenizer adapted to different objectives has one hash: the frame of a text is left out.
    """
    before, after = document_frame(tokenizer)
    pipeline = json.loads(tokenizer.backend_tokenizer.to_str())
    unused = {"post_processor": trims_offsets(pipeline), "truncation": None, "padding": None}
    state = {
        "tokenizer": pipeline | unused,
        "before": before,
        "after": after,
    }
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
    """Tokenise a split into a stream, or find it in the cache.

    Args:
        cache: directory in which streams are kept.
        processes: number of worker processes; 0: none.
        without: a stream whose documents are left out of this one; None: none are.

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
            logger.info("tokenising the %s text", split.name)
            encoder = Encoder(tokenizer)
            split.excluded = None if without is None else _shared(split, without, processes)

            def build() -> None:
                with commit_directory(place, sha256_of=hashes) as aside:
                    largest = len(tokenizer) - 1
                    _tokenise(split, encoder, aside, largest=largest, processes=processes)

            with blocking_section(f"the tokenisation of the {split.name} text"):
                try:
                    build()
                except CannotBeCutError:
                    logger.info("the tokenizer sees across spaces: it is given whole documents")
                    encoder.cuts = False
                    build()
    hashes.keep()
    return read_stream(place)


def _tokenise(
    split: Split, encoder: Encoder, directory: Path, *, largest: int, processes: int
) -> None:
    split.plan(processes)
    report: Report | None = None
    emptied = 0
    with (
        Progress(f"tokenising the {split.name} text") as progress,
        StreamWriter(directory, largest) as writer,
    ):
        for batch in _encoded(split, encoder, processes):
            writer.append(batch)
            if report is None:
                report = batch.report
            else:
                report.merge(batch.report)
            emptied += batch.emptied
            progress.advance(batch.num_bytes, documents=writer.documents)
    if not writer.documents:
        raise split.is_empty()
    write_facts(directory, writer.facts(split, report or Report(), emptied=emptied))


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

        batches = batched(split.whole(), lambda document: len(document[1]))
        yield from map_in_order(work, batches, processes=processes)
    else:
        cut = _cut((fragment for _, fragment in split.numbered()), encoder)
        batches = batched(cut, lambda piece: len(piece.text))
        yield from map_in_order(
            lambda batch: _encode(encoder, batch, Report()), batches, processes=processes
        )


def _cut(fragments: Iterable[Fragment], encoder: Encoder) -> Iterator[Piece]:
    if encoder.cuts:
        yield from pieces(fragments)
        return
    parts: list[str] = []
    for text, ends in fragments:
        parts.append(text)
        if ends:
            yield Piece("".join(parts))
            parts = []


def _encode(encoder: Encoder, batch: Sequence[Piece], report: Report) -> EncodedBatch:
    try:
        encoded = encoder.encode(batch)
    except UnicodeEncodeError as error:
        shown = error.object[max(error.start - 20, 0) : error.start]
        raise DataError(
            f"a document has a lone surrogate behind {shown!r}, which is no text; repair the "
            "source's encoding"
        ) from error
    return EncodedBatch(encoded, [p.ends for p in batch], int(encoded.num_bytes.sum()), report)


def _shared(split: Split, without: TokenStream, processes: int) -> NDArray[np.int64]:
    """Return the numbers of the documents of a split that are in another stream."""
    split.excluded = None
    split.plan(processes)
    known = np.unique(without.document_digests)

    def shared(documents: list[Document]) -> list[int]:
        texts = split.chain.apply(documents).texts if split.chain else documents
        found = np.isin(first_bits([text_digest(text) for _, text in texts]), known)
        return [number for (number, _), both in zip(texts, found, strict=True) if both]

    batches = batched(split.once(), lambda document: len(document[1]))
    numbers = [n for found in map_in_order(shared, batches, processes=processes) for n in found]
    return np.array(sorted(numbers), dtype=np.int64)
