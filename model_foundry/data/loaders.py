"""Batches for training and evaluation, from blocks in the order that `order` gives."""

import hashlib
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import current_thread, main_thread
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from model_foundry.data.blocks import Rows
from model_foundry.data.order import Key, Order, StreamOrder, TrainingOrder, lanes
from model_foundry.labels import IGNORE_INDEX

Collator = Callable[[list[dict[str, Any]]], dict[str, Tensor]]
WORKER_TIMEOUT = 600  # seconds for a batch; a process that takes longer hangs
MOST_LANES, SHORTEST_LANE = 8, 4  # of evaluated streams: few rows without a past, and fast enough


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs, and what it stands for."""

    inputs: dict[str, Tensor]
    """Keyword arguments of the model: `input_ids` (B, T), `labels` (B, T), `attention_mask` (B, T)
    where some position is padding, and what the collator adds. Where rows go on in a later batch,
    `labels` is (B, T + 1): the token that follows a row is its last target."""
    num_bytes: Tensor
    """As long as `labels`: source bytes that each token accounts for; 0 on padding."""
    tokens: int
    """Tokens of text, without framing and padding."""
    words: int
    """Words of text."""
    keys: list[Key]
    """(pass, index) of each block."""
    begins: bool = True
    """Whether the rows begin here; if not, each goes on where the row of the batch before ended."""


def batch_digest(batches: Iterable[Batch]) -> str:
    """Return a short hash of what the model reads and has to predict, row by row."""
    digest = hashlib.sha256()
    for batch in batches:
        rows = torch.cat((batch.inputs["input_ids"], batch.inputs["labels"]), dim=1)
        digest.update(rows.numpy().tobytes())
    return digest.hexdigest()[:16]


MODEL_FEATURES = ("input_ids", "example_id", "document_ids", "is_context", "word_starts")


def assemble(
    features: list[dict[str, Any]],
    *,
    collator: Collator,
    lane_starts: frozenset[int] | None = None,
) -> Batch:
    """Collate rows into a batch.

    Args:
        lane_starts: blocks with which a lane begins; None: each row stands alone.
    """
    inputs = collator([{k: f[k] for k in MODEL_FEATURES if k in f} for f in features])
    mask = inputs["attention_mask"].bool()
    num_bytes = torch.zeros_like(inputs["input_ids"])
    num_bytes[mask] = torch.from_numpy(np.concatenate([f["num_bytes"] for f in features]))
    # what hides nothing would cost attention its fast path and recurrence its packing
    hides = {"attention_mask": not mask.all()}
    if "document_ids" in inputs:
        hides["document_ids"] = bool((inputs["document_ids"] > 0).any())
    inputs = {name: tensor for name, tensor in inputs.items() if hides.get(name, True)}
    if "following" in features[0]:
        following, following_bytes = (
            torch.tensor([[feature[name]] for feature in features])
            for name in ("following", "following_bytes")
        )
        # behind padding, a last column would not be the token after the row
        assert bool((mask[:, -1:] | (following == IGNORE_INDEX)).all())
        inputs = inputs | {"labels": torch.cat((inputs["labels"], following), dim=1)}
        num_bytes = torch.cat((num_bytes, following_bytes), dim=1)  # (B, T + 1)
    keys: list[Key] = [feature["example_id"] for feature in features]
    return Batch(
        inputs=inputs,
        num_bytes=num_bytes,
        tokens=sum(feature["tokens"] for feature in features),
        words=sum(feature["words"] for feature in features),
        keys=keys,
        begins=lane_starts is None or keys[0][1] in lane_starts,
    )


def training_batches(
    rows: Rows,
    collator: Collator,
    *,
    micro_batch: int,
    seed: int,
    start: int = 0,
    workers: int = 0,
    packing: Literal["blocks", "documents", "streams"] = "blocks",
    rows_per_step: int | None = None,
    process: int = 0,
    processes: int = 1,
) -> Generator[Batch]:
    """Yield the micro-batches of one process of a run without end, after `start` blocks.

    Closing the generator ends the worker processes.

    Args:
        packing: under `streams`, rows go on where they ended one step before.
        rows_per_step: blocks in one optimizer step, over all processes; None: one micro-batch of
            each process.

    Raises:
        DataError: there are fewer blocks than rows of a stream.
        RuntimeError: a worker process has died or hangs.
    """
    place = {
        "micro_batch": micro_batch,
        "rows_per_step": rows_per_step or micro_batch * processes,
        "start": start,
        "process": process,
        "processes": processes,
    }
    sampler: Order
    lane_starts = None
    if packing == "streams":
        sampler = StreamOrder(len(rows), **place)
        lane_starts = sampler.lane_starts
    else:
        sampler = TrainingOrder(len(rows), seed=seed, **place)
    loader = _loader(rows, sampler, collator, workers, lane_starts)
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


def evaluation_batches(rows: Rows, collator: Collator, *, batch_size: int) -> Iterator[Batch]:
    """Yield every block once, in order; a masked objective masks the same tokens each time."""
    keys = [(0, index) for index in range(len(rows))]
    batches = [keys[i : i + batch_size] for i in range(0, len(keys), batch_size)]
    return iter(_loader(rows, batches, collator, workers=0))


def evaluation_streams(rows: Rows, collator: Collator) -> Iterator[Batch]:
    """Yield every block once, in lanes: each row goes on where that of the batch before ended.

    The number of lanes depends on the text alone, and so does what is measured. Where lanes end,
    later batches have fewer rows; those that are left are always the first ones.
    """
    cut = lanes(len(rows), max(1, min(MOST_LANES, len(rows) // SHORTEST_LANE)))
    batches = [
        [(0, lane[place]) for lane in cut if place < len(lane)] for place in range(len(cut[0]))
    ]
    starts = frozenset(lane[0] for lane in cut if lane)
    return iter(_loader(rows, batches, collator, workers=0, lane_starts=starts))


def _loader(
    rows: Rows,
    batches: Any,
    collator: Collator,
    workers: int,
    lane_starts: frozenset[int] | None = None,
) -> DataLoader[dict[str, Any]]:
    return DataLoader(
        rows,
        batch_sampler=batches,
        collate_fn=partial(assemble, collator=collator, lane_starts=lane_starts),
        num_workers=workers,
        # whatever the default of this Python: signals and locks are kept from them at the fork
        multiprocessing_context="fork" if workers else None,
        timeout=WORKER_TIMEOUT if workers else 0,
        # without one of its own, making an iterator draws from the global generator: dropout would
        # then depend on how often a run is evaluated
        generator=torch.Generator(),
    )
