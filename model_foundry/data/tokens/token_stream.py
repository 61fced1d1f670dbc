"""A tokenized text on disk: memory-mapped arrays with one entry for each token, in shards.

Documents have the frame that the tokenizer gives a single text: BOS at the start if its template
has one, EOS (or SEP) at the end. Each token has the number of UTF-8 bytes and of words of source
text that it accounts for, so that a loss over any tokens can be reported per byte.
"""

import json
from collections.abc import Sequence
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
        """Return a slice; a view of the mapped file if it is within one shard."""
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
    """Facts about a stream, stored beside its arrays."""

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
    """Tokens for text that the vocabulary cannot spell."""
    unknown_bytes: int = 0
    """UTF-8 bytes of that text; one token may be a whole line in a script without spaces."""
    sources: list[dict[str, Any]] = field(default_factory=list)
    """The `name` and the number of `documents` of each source of a mixture, with repeats and before
    interventions."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Documents that were read and left out, by reason."""
    replaced: int = 0
    """Invalid UTF-8 that was replaced by U+FFFD, in all text that was read."""
    interventions: list[dict[str, Any]] = field(default_factory=list)
    """The report of each step; see `interventions.report.Report`."""

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "StreamFacts":
        """Return the facts of a record; raise a TypeError or ValueError if it is invalid."""
        facts = cls(**record)
        unknown = facts.unknown, facts.unknown_bytes
        counts = (facts.bytes, facts.words, *unknown, facts.replaced, *facts.left_out.values())
        if not all(isinstance(count, int) for count in counts):
            raise ValueError("a count is not a number")
        if not isinstance(facts.text_sha256, str) or not isinstance(facts.tokens_sha256, str):
            raise ValueError("a hash is not text")
        return facts

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class TokenStream:
    """A tokenized text. The three sharded arrays have one entry for each token."""

    tokens: Sharded
    """Token ids."""
    num_bytes: Sharded
    """UTF-8 bytes of source text for each token; 0 for BOS, EOS and SEP."""
    num_words: Sharded
    """Words (text between white space) that begin in each token."""
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
    """Return the file names of the arrays of each shard."""
    number = len(list(directory.glob("tokens-*.npy")))
    return [[f"{array}-{shard:05d}.npy" for array in ARRAYS] for shard in range(number)]


def read_stream(directory: Path) -> TokenStream:
    """Map a stream from disk; raise a DataError if it is invalid."""
    shards, documents = shard_names(directory), [f"{name}.npy" for name in DOCUMENTS]
    names = [*(name for shard in shards for name in shard), *documents]
    require_regular_files(directory, *names, FACTS, error=DataError)
    remedy = f"remove {directory}, and run the command again"
    record = read_json(directory, FACTS, error=DataError, remedy=remedy)
    try:
        facts = StreamFacts.from_json(record)
        arrays = [[map_array(directory / name) for name in shard] for shard in shards]
        ends, digests = (map_array(directory / name) for name in documents)
        tokens, num_bytes, num_words = (Sharded(column) for column in zip(*arrays, strict=True))
        if (
            any(len({len(array) for array in shard}) > 1 for shard in arrays)
            or not len(ends) == len(digests) > 0
            or ends[-1] != len(tokens)
            or not np.all(ends[1:] > ends[:-1])
        ):
            raise ValueError("the lengths of its arrays differ")
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(
            f"{directory}: is not a token stream ({reason_of(error)}); {remedy}."
        ) from error
    return TokenStream(tokens, num_bytes, num_words, ends, digests, facts)
