"""Encoding of plain texts with the library: ids, and the bytes that each accounts for.

No special token is added to a text or found in it.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

import numpy as np
from tokenizers import AddedToken, Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from model_foundry.data.tokens.chunk_cache import BORDER, LONE_SPACES, NOTHING, Plain
from model_foundry.data.tokens.text_bytes import bytes_of_ids, count_bytes

PROBE = (
    'One of the first of these, and it is not to be the last: 3 000 of 12,5 (in the "old" one)!\n'
    "At the same time it's as good as it can be ; na\u00efve \u6771\u4eac  \u3000 and - so on ...\n"
    "def f_x1(self, *a):\n    return a[0] + x.y2 == 'b\\n'  # ('s 1's I'LL\t\tend  \n"
)
JOINED = 1000  # texts that are encoded as one


def unknown_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids for text that the vocabulary cannot spell; most tokenizers have one."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    named = model.get("unk_token")
    ids = {
        tokenizer.unk_token_id,
        model.get("unk_id"),
        None if named is None else tokenizer.backend_tokenizer.token_to_id(named),
    }
    return sorted(index for index in ids if index is not None)


def trims_offsets(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the post-processing steps of a tokenizer's JSON state that change offsets."""
    last = state["post_processor"] or {}
    steps = last["processors"] if last.get("type") == "Sequence" else [last]
    return [
        {"add_prefix_space": step["add_prefix_space"]} for step in steps if step.get("trim_offsets")
    ]


def _plain_text_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Return a copy that neither finds special tokens in a text nor truncates or pads it."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return backend


def _joined_backend(backend: Tokenizer) -> Tokenizer:
    """Return a copy with a token for the border between two texts."""
    joined = Tokenizer.from_str(backend.to_str())
    joined.encode_special_tokens = True
    joined.add_tokens([AddedToken(BORDER, normalized=False, special=False)])
    return joined


class PlainTexts:
    """The encoding of whole texts."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.backend = _plain_text_backend(tokenizer)
        self.table = bytes_of_ids(tokenizer)
        self._lengths = np.array([len(text) for text in self.table or ()], dtype=np.int64)
        self._joined = _joined_backend(self.backend)
        self._border = self._joined.token_to_id(BORDER)

    @cached_property
    def _joins(self) -> bool:
        """True if texts that are joined by borders have the ids that they have alone."""
        texts = [*PROBE.split(" "), *LONE_SPACES.findall(PROBE)]
        each = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        joined = self._joined.encode(BORDER.join(texts), add_special_tokens=False).ids
        apart = [index for encoding in each for index in [*encoding.ids, self._border]]
        return bool(joined == apart[:-1])

    def encode(self, texts: Sequence[str]) -> Plain:
        """Encode texts, none of which is cut."""
        parts = [texts[n : n + JOINED] for n in range(0, len(texts), JOINED)]
        if self.table is None or not self._joins:
            return Plain.joined([NOTHING, *map(self._apart, parts)])
        joined = [BORDER.join(part) for part in parts]
        encodings = self._joined.encode_batch_fast(joined, add_special_tokens=False)
        found = map(self._split, parts, joined, encodings)
        return Plain.joined([NOTHING, *found])

    def _split(self, texts: Sequence[str], joined: str, encoding: Encoding) -> Plain:
        """Split the ids of joined texts; encode them apart if they do not spell the texts."""
        assert self.table is not None
        ids = np.array(listed := encoding.ids, dtype=np.int64)
        borders = ids == self._border
        table = {self._border: BORDER.encode()}
        spelled = b"".join([table.get(i) or self.table[i] for i in listed])
        if borders.sum() != len(texts) - 1 or spelled != joined.encode():
            return self._apart(texts)
        ends = np.append(np.flatnonzero(borders), len(ids)) - np.arange(len(texts))
        ids = ids[~borders]
        counts = np.diff(ends, prepend=0)
        return Plain(ids, self._lengths[ids], counts, np.ones(len(texts), np.bool_))

    def _apart(self, texts: Sequence[str]) -> Plain:
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        each = map(self._alone, texts, encodings)
        return Plain.joined([NOTHING, *each])

    def _alone(self, text: str, encoding: Encoding) -> Plain:
        ids = np.array(listed := encoding.ids, dtype=np.int64)
        one, table = np.array([len(ids)]), self.table
        if table is not None and b"".join([table[i] for i in listed]) == text.encode():
            return Plain(ids, self._lengths[ids], one, np.ones(1, np.bool_))
        ends = np.fromiter(map(itemgetter(1), encoding.offsets), np.int64, len(ids))
        return Plain(ids, count_bytes(text, ends), one, np.zeros(1, np.bool_))
