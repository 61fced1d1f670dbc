"""Batches for training and evaluation, from blocks in the order that `order` gives."""

import hashlib
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import current_thread, main_thread
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from model_foundry.data.blocks import Blocks
from model_foundry.data.order import Key, TrainingOrder

Collator = Callable[[list[dict[str, Any]]], dict[str, Tensor]]
WORKER_TIMEOUT = 600  # seconds for a batch; a process that takes longer hangs


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
