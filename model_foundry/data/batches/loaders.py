"""Batches of rows for training and evaluation."""

import hashlib
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from threading import current_thread, main_thread
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model_foundry.data.batches.columns import Columns
from model_foundry.data.batches.order import (
    BatchSplit,
    Key,
    Order,
    StreamOrder,
    TrainingOrder,
    lanes,
)
from model_foundry.data.batches.rows import Rows
from model_foundry.foundation.labels import IGNORE_INDEX

Collator = Callable[[list[dict[str, Any]]], dict[str, Tensor]]
NOT_READ = torch.zeros(0, 0, dtype=torch.int64)
WORKER_TIMEOUT = 600  # seconds for a batch; a worker that takes longer hangs
MOST_LANES, SHORTEST_LANE = 8, 4  # in evaluation: few rows lack a past, and it is fast enough


@dataclass(frozen=True)
class Batch:
    """The inputs of one forward pass, and the counts of the text in them."""

    inputs: dict[str, Tensor]
    """Keyword arguments of the model: `input_ids` (B, T), `labels` (B, T), `attention_mask` (B, T)
    if there is padding, and what the collator adds. If rows continue in a later batch, `labels` is
    (B, T + 1): the token after a row is its last target."""
    num_bytes: Tensor
    """In the shape of `labels`: source bytes that each token accounts for; 0 at padding. Empty,
    (0, 0), in training batches, which do not need them."""
    tokens: int
    """Tokens of text, without frames and padding."""
    words: int
    """Words of text."""
    keys: list[Key]
    """(pass, index) of each block."""
    begins: bool = True
    """False if each row continues that of the previous batch."""


def batch_digest(batches: Iterable[Batch]) -> str:
    """Return a short hash of the inputs and labels of batches, row by row."""
    digest = hashlib.sha256()
    for batch in batches:
        rows = torch.cat((batch.inputs["input_ids"], batch.inputs["labels"]), dim=1)
        digest.update(rows.numpy().data)
    return digest.hexdigest()[:16]


def assemble(
    rows: Columns, *, collator: Collator, lane_starts: frozenset[int] | None = None
) -> Batch:
    """Collate rows into a batch.

    Args:
        lane_starts: first block of each lane; None: no row continues another.
    """
    inputs = _collated(rows, collator)
    mask = inputs.get("attention_mask")
    num_bytes = NOT_READ
    if rows.num_bytes is not None:
        num_bytes = _padded(torch.from_numpy(rows.num_bytes), inputs["input_ids"], mask)
    if rows.following is not None and rows.following_bytes is not None:
        following = torch.from_numpy(rows.following)[:, None]
        # after padding, a last column would not be the token after the row
        assert mask is None or bool((mask[:, -1:].bool() | (following == IGNORE_INDEX)).all())
        inputs["labels"] = torch.cat((inputs["labels"], following), dim=1)  # (B, T + 1)
        if rows.num_bytes is not None:
            following_bytes = torch.from_numpy(rows.following_bytes)[:, None]
            num_bytes = torch.cat((num_bytes, following_bytes), dim=1)
    return Batch(
        inputs=inputs,
        num_bytes=num_bytes,
        tokens=rows.tokens,
        words=rows.words,
        keys=rows.keys,
        begins=lane_starts is None or rows.keys[0][1] in lane_starts,
    )


def _collated(rows: Columns, collator: Collator) -> dict[str, Tensor]:
    """Return the model's inputs, without a mask if there is no padding.

    Such a mask would prevent the fast path of attention and the packing of recurrent models.
    """
    # the collator of a plugin may be any function of dictionaries
    collate = getattr(collator, "collate_joined", None)
    if collate is None:
        inputs = dict(collator(rows.features()))
        if inputs["attention_mask"].all():
            del inputs["attention_mask"]
    else:
        inputs = collate(rows.ids, rows.bounds, rows.keys, **rows.of_tokens())
    if rows.document_ids is not None and not rows.document_ids.any():
        inputs.pop("document_ids", None)
    return inputs


def _padded(values: Tensor, like: Tensor, mask: Tensor | None) -> Tensor:
    """Return the values (N,) of real tokens in the shape of a batch, 0 at padding."""
    if mask is None:
        return values.view_as(like)
    batch = torch.zeros_like(like)
    batch[mask.bool()] = values
    return batch


@dataclass(frozen=True)
class _Batches(Dataset[Batch]):
    """Batches by their lists of keys."""

    rows: Rows
    collator: Collator
    lane_starts: frozenset[int] | None = None
    with_bytes: bool = True

    def __getitem__(self, keys: list[Key]) -> Batch:
        rows = self.rows.read(keys, with_bytes=self.with_bytes)
        return assemble(rows, collator=self.collator, lane_starts=self.lane_starts)


def training_batches(
    rows: Rows,
    collator: Collator,
    share: BatchSplit,
    *,
    seed: int,
    start: int = 0,
    workers: int = 0,
    packing: Literal["blocks", "documents", "streams"] = "blocks",
) -> Generator[Batch]:
    """Yield the micro-batches of one rank without end, after the first `start` blocks of the run.

    Closing the generator ends the worker processes.

    Args:
        packing: with `streams`, each row continues that of the previous step.

    Raises:
        DataError: there are fewer blocks than rows in a step of streams.
        RuntimeError: a worker process died or hangs.
    """
    order: Order
    lane_starts = None
    if packing == "streams":
        order = StreamOrder(len(rows), share, start=start)
        lane_starts = order.lane_starts
    else:
        order = TrainingOrder(len(rows), share, seed=seed, start=start)
    source = _Batches(rows, collator, lane_starts, with_bytes=False)
    yield from _from_workers(source, order, workers) if workers else map(source.__getitem__, order)


def _identity(batch: Any) -> Any:
    return batch


def _raising_between_batches(batches: Iterator[Batch]) -> Generator[Batch]:
    """Yield batches; raise the error for a dead worker process only when a batch is requested.

    torch raises it wherever the main thread is, perhaps in the middle of an optimizer step.
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


def _from_workers(source: _Batches, order: Order, workers: int) -> Generator[Batch]:
    """Yield batches that worker processes prefetch."""
    loader = DataLoader(
        source,
        sampler=order,
        batch_size=None,  # the sampler draws whole batches
        collate_fn=_identity,
        num_workers=workers,
        # not Python's default everywhere; handlers keep signals and locks from workers at the fork
        multiprocessing_context="fork",
        timeout=WORKER_TIMEOUT,
        # otherwise an iterator draws from the global generator, which would change dropout
        generator=torch.Generator(),
    )
    yield from _raising_between_batches(iter(loader))


def evaluation_batches(
    rows: Rows, collator: Collator, *, batch_size: int, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """Yield every block once, in order; a masked objective masks the same tokens each time.

    Each rank reads every `world_size`-th of the batches of a single process.
    """
    source = _Batches(rows, collator)
    for first in range(rank * batch_size, len(rows), world_size * batch_size):
        yield source[[(0, index) for index in range(first, min(first + batch_size, len(rows)))]]


def evaluation_streams(
    rows: Rows, collator: Collator, *, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """Yield every block once, in lanes: each row continues that of the previous batch.

    The number of lanes, and so the result, depends only on the text; each rank reads whole lanes.
    When lanes end, later batches have fewer rows, always the first ones.
    """
    cut = lanes(len(rows), max(1, min(MOST_LANES, len(rows) // SHORTEST_LANE)))
    own = [lane for lane in cut[rank::world_size] if lane]
    source = _Batches(rows, collator, frozenset(lane[0] for lane in own))
    for place in range(max(map(len, own), default=0)):
        yield source[[(0, lane[place]) for lane in own if place < len(lane)]]
