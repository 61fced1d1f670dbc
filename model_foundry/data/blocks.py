"""Rows of a token stream: the blocks that training and evaluation read, under keys."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from model_foundry.data.order import Key
from model_foundry.data.packing import TokenStream


class Blocks(Dataset[dict[str, Any]]):
    """The blocks of a stream, under keys (pass, index).

    Args:
        content: tokens of the stream in one block.
        frame: ids put before and after these in each block.
        keep_rest: whether the last, shorter block counts. If not, `dropped` tokens are left out.
    """

    def __init__(
        self,
        stream: TokenStream,
        *,
        content: int,
        frame: tuple[Sequence[int], Sequence[int]] = ((), ()),
        keep_rest: bool,
    ) -> None:
        self.stream, self.content = stream, content
        self.before, self.after = (np.array(ids, np.int64) for ids in frame)
        whole, rest = divmod(len(stream), content)
        self.dropped = 0 if keep_rest else rest
        self.number = whole + (1 if keep_rest and rest else 0)

    def __len__(self) -> int:
        return self.number

    def first(self, number: int) -> "Blocks":
        """Return the first blocks alone."""
        part = copy.copy(self)
        part.number = min(number, self.number)
        return part

    def describe(self) -> str:
        """Return the figures of the text, and how it is cut, in one line."""
        stream = self.stream
        left_over = f", {self.dropped} left over" if self.dropped else ""
        return (
            f"{stream.documents:,} documents, {stream.words:,} words, {stream.bytes:,} bytes, "
            f"{len(stream):,} tokens in {len(self):,} blocks of {self.content}{left_over}"
        )

    def __getitem__(self, key: Key) -> dict[str, Any]:
        start = key[1] * self.content
        part = slice(start, start + self.content)
        return {
            "input_ids": self._framed(self.stream.tokens[part], self.before, self.after),
            "num_bytes": self._framed(self.stream.num_bytes[part], 0 * self.before, 0 * self.after),
            "words": int(self.stream.num_words[part].sum(dtype=np.int64)),
            "example_id": key,
        }

    @staticmethod
    def _framed(
        values: NDArray[Any], before: NDArray[np.int64], after: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        return np.concatenate([before, values.astype(np.int64), after])
