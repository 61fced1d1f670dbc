"""A tokenised text on disk: arrays with one entry a token, in shards, mapped and never loaded.

Documents stand in the stream as the tokenizer frames a text of its own: BOS first where its
template puts one, EOS (or SEP) where the document ends. Beside each token stands the number of
UTF-8 bytes and of words of the source text that it accounts for, so that a loss over any tokens can
be given per byte.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.tokens.array_file import map_array
from model_foundry.errors import DataError
from model_foundry.foundation.messages import reason_of
from model_foundry.foundation.untrusted_files import read_json, require_regular_files

ARRAYS = ("tokens", "num_bytes", "num_words")
DOCUMENTS = ("document_ends", "document_digests")
FACTS = "stream.json"
Unsigned = NDArray[np.unsignedinteger]


class Sharded:
    """Arrays that follow each other, read as one."""

    def __init__(self, shards: Sequence[Unsigned]) -> None:
        self.shards = list(shards)
        self._starts = [0]
        for shard in self.shards:
            self._starts.append(self._starts[-1] + len(shard))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, part: slice) -> Unsigned:
        """Return a stretch; a view of the mapped file if it is in one shard."""
        start, stop, step = part.indices(len(self))
        assert step == 1
        if stop <= self._starts[1]:  # nearly always
            return self.shards[0][start:stop]
        parts = [
            shard[max(start - first, 0) : max(stop - first, 0)]
            for shard, first in zip(self.shards, self._starts, strict=False)
            if first < stop and first + len(shard) > start
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([self.shards[0][:0], *parts])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        joined = self.shards[0] if len(self.shards) == 1 else np.concatenate(self.shards)
        return joined if dtype is None else joined.astype(dtype)


@dataclass(frozen=True, kw_only=True)
class StreamFacts:
    """Facts about a stream, kept beside its arrays."""

    text_sha256: str
    """SHA-256 over the SHA-256 of the text of each document."""
    tokens_sha256: str
    """SHA-256 over all ids as 32-bit little-endian numbers."""
    bytes: int
    """UTF-8 bytes of the whole text."""
    words: int
    """Words of the whole text."""
    lossless: bool
    """True if the tokenizer restored every character."""
    unknown: int = 0
    """Tokens of the text that stand for what the vocabulary cannot spell."""
    unknown_bytes: int = 0
    """UTF-8 bytes of the text behind them: one may be a whole line of a script without spaces."""
    sources: list[dict[str, Any]] = field(default_factory=list)
    """Of a mixture, the `name` of each source and its number of `documents`, repeats included and
    before interventions."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Documents that were read and left out, by the reason."""
    replaced: int = 0
    """Stretches of bytes that were not UTF-8 and became U+FFFD, in all that was read for it."""
    interventions: list[dict[str, Any]] = field(default_factory=list)
    """The report of each step; see `interventions.report.Report`."""

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "StreamFacts":
        """Read what `as_json` wrote; `TypeError` or `ValueError` where it is none."""
        facts = cls(**record)
        unknown = facts.unknown, facts.unknown_bytes
        counts = (facts.bytes, facts.words, *unknown, facts.replaced, *facts.left_out.values())
        if not all(isinstance(count, int) for count in counts):
            raise ValueError("a count is no number")
        if not isinstance(facts.text_sha256, str) or not isinstance(facts.tokens_sha256, str):
            raise ValueError("a hash is no text")
        return facts

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class TokenStream:
    """A tokenised text. The three sharded arrays have one entry a token."""

    tokens: Sharded
    """Token ids."""
    num_bytes: Sharded
    """UTF-8 bytes of source text that a token accounts for; 0 for BOS, EOS and SEP."""
    num_words: Sharded
    """Words (pieces between white space) that begin in a token."""
    document_ends: NDArray[np.uint64]
    """(D,) tokens up to the end of each document."""
    document_digests: NDArray[np.uint64]
    """(D,) the first 64 bits of the SHA-256 of each document's text."""
    facts: StreamFacts

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def documents(self) -> int:
        """Number of documents."""
        return len(self.document_ends)

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the whole text."""
        return self.facts.bytes

    @property
    def words(self) -> int:
        """Words of the whole text."""
        return self.facts.words

    @property
    def text_sha256(self) -> str:
        """SHA-256 over the documents."""
        return self.facts.text_sha256


def write_facts(directory: Path, facts: StreamFacts) -> None:
    """Write the facts of a stream beside its arrays."""
    text = json.dumps(facts.as_json(), indent=1) + "\n"
    (directory / FACTS).write_text(text, encoding="utf-8")


def shard_names(directory: Path) -> list[list[str]]:
    """Return the names of the arrays of each shard."""
    number = len(list(directory.glob("tokens-*.npy")))
    return [[f"{array}-{shard:05d}.npy" for array in ARRAYS] for shard in range(number)]


def read_stream(directory: Path) -> TokenStream:
    """Map a stream from the disk, and check that it is one.

    Raises:
        DataError: it is no stream.
    """
    shards, documents = shard_names(directory), [f"{name}.npy" for name in DOCUMENTS]
    names = [*(name for shard in shards for name in shard), *documents]
    require_regular_files(directory, *names, FACTS, error=DataError)
    remedy = f"remove {directory}, and it is made again"
    record = read_json(directory, FACTS, error=DataError, remedy=remedy)
    try:
        facts = StreamFacts.from_json(record)
        arrays = [[map_array(directory / name) for name in shard] for shard in shards]
        ends, digests = (map_array(directory / name) for name in documents)
        tokens, num_bytes, num_words = (Sharded(column) for column in zip(*arrays, strict=True))
        stream = TokenStream(
            tokens,
            num_bytes,
            num_words,
            document_ends=ends,
            document_digests=digests,
            facts=facts,
        )
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(
            f"{directory}: is no token stream ({reason_of(error)}); {remedy}."
        ) from error
    if not _is_whole(arrays, stream):
        raise DataError(f"{directory}: is no token stream (its arrays are others); {remedy}.")
    return stream


def _is_whole(arrays: Iterable[list[NDArray[Any]]], stream: TokenStream) -> bool:
    ends = stream.document_ends
    return (
        all(len({len(array) for array in shard}) == 1 for shard in arrays)
        and len(ends) == len(stream.document_digests) > 0
        and int(ends[-1]) == len(stream)
        and bool(np.all(ends[1:] > ends[:-1]))
    )
