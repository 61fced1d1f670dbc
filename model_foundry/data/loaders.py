"""Blocks of a token stream, and which block goes into which batch.

The order of training is a pure function of (seed, position): position counts the blocks drawn since
the start of the run, each pass over the data is a fresh permutation of all blocks, and a batch may
straddle two passes. So a run can begin anywhere, and nothing but the seed decides what it sees.
"""

import copy
import hashlib
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from threading import current_thread, main_thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from model_foundry.data.packing import TokenStream

Collator = Callable[[list[dict[str, Any]]], dict[str, Tensor]]
WORKER_TIMEOUT = 600  # seconds for a batch; a process that takes longer hangs
Key = tuple[int, int]  # (pass over the data, index of the block)


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


def permutation(blocks: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of the blocks in one pass over the data."""
    return np.random.default_rng([seed, epoch]).random(blocks).argsort(kind="stable")


class TrainingOrder(Sampler[list[Key]]):
    """The keys of each micro-batch of a run, from any position on, without end.

    Args:
        blocks: number of blocks in the data.
        micro_batch: blocks in one forward pass.
        start: blocks already drawn since the beginning of the run.
    """

    def __init__(self, blocks: int, *, micro_batch: int, seed: int, start: int = 0) -> None:
        self.blocks, self.seed, self.start = blocks, seed, start
        self.micro_batch = micro_batch
        self._epoch, self._permutation = -1, np.zeros(0, np.int64)

    def __iter__(self) -> Iterator[list[Key]]:
        position = self.start
        while True:
            yield [self._key(position + row) for row in range(self.micro_batch)]
            position += self.micro_batch

    def _key(self, position: int) -> Key:
        epoch, place = divmod(position, self.blocks)
        if epoch != self._epoch:
            self._epoch, self._permutation = epoch, permutation(self.blocks, self.seed, epoch)
        return epoch, int(self._permutation[place])


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs, and what it stands for."""

    inputs: dict[str, Tensor]
    """Keyword arguments of the model: `input_ids` (B, T), `labels` (B, T), and `attention_mask`
    (B, T) where some position is padding."""
    num_bytes: Tensor
    """(B, T) source bytes that each token accounts for; 0 on padding."""
    tokens: int
    """Tokens of text, without framing and padding."""
    words: int
    """Words of text."""
    keys: list[Key]
    """(pass, index) of each block."""


def batch_digest(batches: Iterable[Batch]) -> str:
    """Return a short hash of what the model reads and has to predict, row by row."""
    digest = hashlib.sha256()
    for batch in batches:
        rows = torch.cat((batch.inputs["input_ids"], batch.inputs["labels"]), dim=1)
        digest.update(rows.numpy().tobytes())
    return digest.hexdigest()[:16]


def assemble(features: list[dict[str, Any]], *, collator: Collator, framing: int) -> Batch:
    """Collate blocks into a batch; `framing` is the number of framing tokens in each block."""
    model_features = [{k: f[k] for k in ("input_ids", "example_id")} for f in features]
    inputs = collator(model_features)
    mask = inputs["attention_mask"].bool()
    num_bytes = torch.zeros_like(inputs["input_ids"])
    num_bytes[mask] = torch.from_numpy(np.concatenate([f["num_bytes"] for f in features]))
    if mask.all():
        # a mask that hides nothing would cost attention its fast path and recurrence its packing
        inputs = {name: tensor for name, tensor in inputs.items() if name != "attention_mask"}
    return Batch(
        inputs=inputs,
        num_bytes=num_bytes,
        tokens=int(mask.sum()) - framing * len(features),
        words=sum(feature["words"] for feature in features),
        keys=[feature["example_id"] for feature in features],
    )


def training_batches(
    blocks: Blocks,
    collator: Collator,
    *,
    micro_batch: int,
    seed: int,
    start: int = 0,
    workers: int = 0,
) -> Generator[Batch]:
    """Yield the micro-batches of a run without end, after the first `start` blocks.

    Closing the generator ends the worker processes.

    Raises:
        RuntimeError: a worker process has died or hangs.
    """
    sampler = TrainingOrder(len(blocks), micro_batch=micro_batch, seed=seed, start=start)
    loader = _loader(blocks, sampler, collator, workers)
    yield from _whole_between(iter(loader)) if workers else loader


def _whole_between(batches: Iterator[Batch]) -> Generator[Batch]:
    """Yield batches; that a worker process has died is raised in asking for one, never in between.

    torch raises it wherever the main thread is at that moment, which may be halfway through an
    update of the weights.
    """
    raise_if_one_died = signal.getsignal(signal.SIGCHLD)
    if not callable(raise_if_one_died) or current_thread() is not main_thread():
        yield from batches
        return
    try:
        while True:
            signal.signal(signal.SIGCHLD, raise_if_one_died)
            raise_if_one_died(signal.SIGCHLD, None)
            batch = next(batches)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            yield batch
    finally:
        signal.signal(signal.SIGCHLD, raise_if_one_died)


def evaluation_batches(blocks: Blocks, collator: Collator, *, batch_size: int) -> Iterator[Batch]:
    """Yield every block once, in order; a masked objective masks the same tokens each time."""
    keys = [(0, index) for index in range(len(blocks))]
    batches = [keys[i : i + batch_size] for i in range(0, len(keys), batch_size)]
    return iter(_loader(blocks, batches, collator, workers=0))


def _loader(
    blocks: Blocks, batches: Any, collator: Collator, workers: int
) -> DataLoader[dict[str, Any]]:
    framing = len(blocks.before) + len(blocks.after)
    return DataLoader(
        blocks,
        batch_sampler=batches,
        collate_fn=partial(assemble, collator=collator, framing=framing),
        num_workers=workers,
        # whatever the default of this Python: signals and locks are kept from them at the fork
        multiprocessing_context="fork" if workers else None,
        timeout=WORKER_TIMEOUT if workers else 0,
        # without one of its own, making an iterator draws from the global generator: dropout would
        # then depend on how often a run is evaluated
        generator=torch.Generator(),
    )
