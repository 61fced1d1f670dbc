"""Writing of a token stream in batches, into the files that `token_stream` reads."""

from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.corpus.splits import Split
from model_foundry.data.tokens.array_file import ArrayFile
from model_foundry.data.tokens.encoding import Encoded
from model_foundry.data.tokens.text_bytes import document_digests
from model_foundry.data.tokens.token_stream import ARRAYS, StreamFacts
from model_foundry.interventions.chain import Report

EMPTIED = "emptied by interventions"
SHARD = 2**28  # tokens; about a gigabyte of English


@dataclass(frozen=True)
class EncodedBatch:
    """A batch of tokenized documents or pieces."""

    encoded: Encoded
    closes: NDArray[np.bool_]
    """(P,) True for each piece at the end of its document."""
    report: Report
    emptied: int = 0
    """Documents of which interventions left only white space."""


def first_bits(digests: bytes) -> NDArray[np.uint64]:
    """Return the first 64 bits of each SHA-256, enough to distinguish documents."""
    return np.frombuffer(digests, dtype=np.uint64)[::4]


class StreamWriter:
    """Writes a stream into a directory in batches."""

    def __init__(self, directory: Path, largest: int) -> None:
        self.directory, self.documents, self.num_bytes = directory, 0, 0
        self._ids = np.dtype(np.uint16 if largest < 2**16 else np.uint32)
        self._shards = 0
        self._open: list[ArrayFile] = []
        self._ends = ArrayFile(directory / "document_ends.npy", np.dtype(np.uint64))
        self._digests = ArrayFile(directory / "document_digests.npy", np.dtype(np.uint64))
        self._tokens = self._words = self._emptied = 0
        self._report: Report | None = None
        self._lossless = True
        self._unknown = [0, 0]  # tokens, and the bytes behind them
        self._text, self._all_tokens = sha256(), sha256()
        self._parts = b""  # the hashes of the pieces of the open document
        self._rest = [0, 0]  # bytes and words of text without tokens, counted for the next token

    def close(self) -> None:
        """Finish the files."""
        with ExitStack() as closing:  # all of them, even if the disk is full for one
            for file in (*self._open, self._ends, self._digests):
                closing.callback(file.close)

    def append(self, batch: EncodedBatch) -> None:
        """Write the tokens of a batch, and the documents that end in it."""
        encoded = batch.encoded
        if not self._open or len(self._open[0]) >= SHARD:
            self._next_shard()
        for file, values in zip(self._open, self._columns(encoded), strict=True):
            file.append(values)
        self._end_documents(batch)
        self._all_tokens.update(encoded.ids.astype("<u4", copy=False).tobytes())
        self._tokens += len(encoded.ids)
        self._lossless = self._lossless and encoded.lossless
        for number, count in enumerate(encoded.unknown):
            self._unknown[number] += count
        self._emptied += batch.emptied
        if self._report is None:
            self._report = batch.report
        else:
            self._report.merge(batch.report)

    def facts(self, split: Split) -> StreamFacts:
        """Return the facts of the complete stream."""
        return StreamFacts(
            text_sha256=self._text.hexdigest(),
            tokens_sha256=self._all_tokens.hexdigest(),
            bytes=self.num_bytes,
            words=self._words,
            lossless=self._lossless,
            unknown=self._unknown[0],
            unknown_bytes=self._unknown[1],
            sources=split.sources(),
            left_out=split.left_out() | ({EMPTIED: self._emptied} if self._emptied else {}),
            replaced=split.replaced,
            interventions=self._report.as_json() if self._report else [],
        )

    def _columns(self, encoded: Encoded) -> list[NDArray[Any]]:
        """Return the ids, bytes and words, with those of text without tokens before them."""
        columns: list[NDArray[Any]] = [encoded.ids, encoded.num_bytes, encoded.num_words]
        for number, rest in enumerate(encoded.rest):
            values = columns[1 + number]
            if self._rest[number] and len(values):
                values = columns[1 + number] = values.astype(np.int64)
                values[0] += self._rest[number]
                self._rest[number] = 0
            self._rest[number] += rest
        self.num_bytes += int(columns[1].sum())
        self._words += int(columns[2].sum())
        return columns

    def _end_documents(self, batch: EncodedBatch) -> None:
        digests, self._parts = document_digests(self._parts + batch.encoded.digests, batch.closes)
        self._text.update(digests)
        self._digests.append(first_bits(digests))
        self._ends.append(batch.encoded.piece_ends[batch.closes] + self._tokens)
        self.documents += int(batch.closes.sum())

    def _next_shard(self) -> None:
        for file in self._open:
            file.close()
        self._open = []
        types = self._ids, np.dtype(np.uint8), np.dtype(np.uint8)
        for name, dtype in zip(ARRAYS, types, strict=True):
            path = self.directory / f"{name}-{self._shards:05d}.npy"
            self._open.append(ArrayFile(path, dtype))
        self._shards += 1
