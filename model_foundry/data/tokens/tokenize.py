"""From the documents of a split to its token stream: tokenised once, in parallel, and kept.

A stream is kept under the hash of what it was made of: the content of the source's files, the draw
of its documents, what is done to them, and the tokenizer. It is written a batch at a time, so that
neither text nor tokens are ever in memory as a whole.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from model_foundry.data.corpus.splits import Document, Split
from model_foundry.data.sources.fragments import Fragment, Piece, pieces
from model_foundry.data.tokens.array_file import ArrayFile
from model_foundry.data.tokens.encoding import (
    CannotBeCutError,
    Encoded,
    Encoder,
    document_frame,
    trims_offsets,
)
from model_foundry.data.tokens.progress import Progress
from model_foundry.data.tokens.text_bytes import join_digests, text_digest
from model_foundry.data.tokens.token_stream import (
    ARRAYS,
    StreamFacts,
    TokenStream,
    read_stream,
    write_facts,
)
from model_foundry.errors import DataError
from model_foundry.foundation.atomic_files import commit_directory
from model_foundry.foundation.cache import building
from model_foundry.foundation.file_hashes import FileHashes
from model_foundry.foundation.interrupts import blocking_section
from model_foundry.foundation.process_pool import batched, map_in_order
from model_foundry.interventions.chain import Report

logger = logging.getLogger(__name__)

CACHE_FORMAT = 4  # raised whenever the arrays or facts change their meaning
EMPTIED = "emptied by interventions"
SHARD = 2**28  # tokens; about a gigabyte of English


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the SHA-256 over what the tokenizer does to the text of a corpus.

    It is the same for one tokenizer adapted to different objectives: they frame a text alone.
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
        processes: how many tokenise; 0: this one does.
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
        _Writer(directory, largest) as writer,
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
    write_facts(directory, writer.facts(split, report or Report(), emptied))


@dataclass(frozen=True)
class _Batch:
    """The result of one process for a batch of documents or pieces."""

    encoded: Encoded
    ends: list[bool]
    """Whether a document ends with each piece."""
    num_bytes: int
    report: Report
    emptied: int = 0
    """Documents that the steps left nothing of but white space."""


def _encoded(split: Split, encoder: Encoder, processes: int) -> Iterator[_Batch]:
    """Yield what becomes of the documents of a split, in order."""
    chain = split.chain
    if chain:

        def work(documents: list[Document]) -> _Batch:
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


def _encode(encoder: Encoder, batch: Sequence[Piece], report: Report) -> _Batch:
    try:
        encoded = encoder.encode(batch)
    except UnicodeEncodeError as error:
        shown = error.object[max(error.start - 20, 0) : error.start]
        raise DataError(
            f"a document has a lone surrogate behind {shown!r}, which is no text; repair the "
            "source's encoding"
        ) from error
    return _Batch(encoded, [p.ends for p in batch], int(encoded.num_bytes.sum()), report)


def _shared(split: Split, without: TokenStream, processes: int) -> NDArray[np.int64]:
    """Return the numbers of the documents of a split that stand in another stream."""
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


def first_bits(digests: list[bytes]) -> NDArray[np.uint64]:
    """Return the first 64 bits of each hash: enough to tell documents apart."""
    return np.frombuffer(b"".join(digest[:8] for digest in digests), dtype=np.uint64)


class _Writer:
    """Writes a stream into a directory, batch by batch."""

    def __init__(self, directory: Path, largest: int) -> None:
        self.directory, self.documents = directory, 0
        self._ids = np.dtype(np.uint16 if largest < 2**16 else np.uint32)
        self._shards = 0
        self._open: list[ArrayFile] = []
        self._ends = ArrayFile(directory / "document_ends.npy", np.dtype(np.uint64))
        self._digests = ArrayFile(directory / "document_digests.npy", np.dtype(np.uint64))
        self._tokens = self._bytes = self._words = 0
        self._lossless = True
        self._unknown = [0, 0]  # tokens, and the bytes behind them
        self._text, self._all_tokens = sha256(), sha256()
        self._parts: list[bytes] = []
        self._rest = [0, 0]  # bytes and words of text without tokens, which the next one takes

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with ExitStack() as closing:  # all of them, though one may find the disk full
            for file in (*self._open, self._ends, self._digests):
                closing.callback(file.close)

    def append(self, batch: _Batch) -> None:
        """Write the tokens of a batch, and the documents that end in it."""
        encoded = batch.encoded
        self._take_rest(encoded)
        if not self._open or len(self._open[0]) >= SHARD:
            self._next_shard()
        columns: list[NDArray[Any]] = [encoded.ids, encoded.num_bytes, encoded.num_words]
        for file, values in zip(self._open, columns, strict=True):
            file.append(values)
        self._end_documents(batch)
        self._all_tokens.update(encoded.ids.astype("<u4", copy=False).tobytes())
        self._tokens += len(encoded.ids)
        self._bytes += int(encoded.num_bytes.sum())
        self._words += int(encoded.num_words.sum())
        self._lossless = self._lossless and encoded.lossless
        for number, count in enumerate(encoded.unknown):
            self._unknown[number] += count

    def facts(self, split: Split, report: Report, emptied: int) -> StreamFacts:
        """Return what is known when all is written."""
        return StreamFacts(
            text_sha256=self._text.hexdigest(),
            tokens_sha256=self._all_tokens.hexdigest(),
            bytes=self._bytes,
            words=self._words,
            lossless=self._lossless,
            unknown=self._unknown[0],
            unknown_bytes=self._unknown[1],
            sources=split.sources(),
            left_out=split.left_out() | ({EMPTIED: emptied} if emptied else {}),
            replaced=split.replaced,
            interventions=report.as_json(),
        )

    def _take_rest(self, encoded: Encoded) -> None:
        for number, values in enumerate((encoded.num_bytes, encoded.num_words)):
            if len(values):
                values[0] += self._rest[number]
                self._rest[number] = 0
            self._rest[number] += encoded.rest[number]

    def _end_documents(self, batch: _Batch) -> None:
        digests = []
        for digest, ends in zip(batch.encoded.digests, batch.ends, strict=True):
            self._parts.append(digest)
            if ends:
                digests.append(join_digests(self._parts))
                self._parts = []
        self._text.update(b"".join(digests))
        self._digests.append(first_bits(digests))
        self._ends.append(batch.encoded.piece_ends[np.array(batch.ends, np.bool_)] + self._tokens)
        self.documents += len(digests)

    def _next_shard(self) -> None:
        for file in self._open:
            file.close()
        self._open = []
        types = self._ids, np.dtype(np.uint8), np.dtype(np.uint8)
        for name, dtype in zip(ARRAYS, types, strict=True):
            path = self.directory / f"{name}-{self._shards:05d}.npy"
            self._open.append(ArrayFile(path, dtype))
        self._shards += 1
