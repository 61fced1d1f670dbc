"""Batches of examples for training and evaluation."""

import hashlib
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from threading import current_thread, main_thread
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from model_foundry.data.batches.examples import Examples, ExampleSet, Key
from model_foundry.data.batches.order import BatchSplit, Order, StreamOrder, TrainingOrder, lanes

Collate = Callable[[Examples], dict[str, Tensor]]
"""Makes the tensors of a batch out of examples."""
WORKER_TIMEOUT = 600  # seconds for a batch; a worker that takes longer hangs
MOST_LANES, SHORTEST_LANE = 8, 4  # in evaluation: few rows lack a past, and it is fast enough


@dataclass(frozen=True)
class Batch:
    """The tensors of one forward pass, and the counts of what is in them."""

    inputs: dict[str, Tensor]
    """Keyword arguments of the model, (B, ...) each, and what only losses and metrics read."""
    counts: dict[str, int]
    """What the examples that count hold in all, by unit (tokens, words); no padding."""
    keys: list[Key]
    """(pass, index) of each example."""
    begins: bool = True
    """False if each example continues that of the previous batch."""


def batch_digest(batches: Iterable[Batch]) -> str:
    """Return a short hash of the names, shapes and values of all inputs, example by example."""
    digest = hashlib.sha256()
    for batch in batches:
        inputs = sorted(batch.inputs.items())
        named = [(f"{n}{tuple(t.shape[1:])}".encode(), _bytes_of_rows(t)) for n, t in inputs]
        for place in range(len(batch.keys)):
            for name, values in named:
                digest.update(name)
                digest.update(values[place].data)
    return digest.hexdigest()[:16]


def _bytes_of_rows(tensor: Tensor) -> npt.NDArray[np.uint8]:
    """Return the bytes of a tensor (B, ...) by row, also of bf16, which NumPy does not know."""
    return tensor[:, None].flatten(1).contiguous().view(torch.uint8).numpy()


@dataclass(frozen=True)
class _Batches(Dataset[Batch]):
    """Batches by the progress of the run and the keys of their examples."""

    examples: ExampleSet
    collate: Collate
    lane_starts: frozenset[int] | None = None
    """First example of each lane; None: no example continues another."""
    evaluating: bool = False
    passes: int | None = None
    """Passes whose examples count; None: all."""

    def _counts(self, keys: list[Key], examples: Examples) -> dict[str, int]:
        kept = [key for key in keys if self.passes is None or key[0] < self.passes]
        if len(kept) == len(examples):
            return examples.counts
        return self.examples.read(kept).counts if kept else dict.fromkeys(examples.counts, 0)

    def __getitem__(self, wanted: tuple[float, list[Key]]) -> Batch:
        progress, keys = wanted
        read = self.examples.read(keys, evaluating=self.evaluating)
        examples = replace(read, progress=progress)
        return Batch(
            inputs=self.collate(examples),
            counts=self._counts(keys, examples),
            keys=examples.keys,
            begins=self.lane_starts is None or keys[0][1] in self.lane_starts,
        )


def training_batches(
    examples: ExampleSet,
    collate: Collate,
    share: BatchSplit,
    *,
    seed: int,
    steps: range = range(1),
    workers: int = 0,
    streams: bool = False,
    passes: int | None = None,
) -> Generator[Batch]:
    """Yield the micro-batches of one rank without end.

    Closing the generator ends the worker processes.

    Args:
        steps: from the number of steps made before to that of the whole run; collators are told
            which share of these is over.
        streams: each example continues that of the previous step.
        passes: the first passes over the examples, outside of which none is counted; None: all.

    Raises:
        DataError: there are fewer examples than a step of streams has.
        RuntimeError: a worker process died or hangs.
    """
    order: Order
    lane_starts, start = None, steps.start * share.rows_per_step
    if streams:
        order = StreamOrder(len(examples), share, start=start)
        lane_starts = order.lane_starts
    else:
        order = TrainingOrder(
            len(examples), share, seed=seed, start=start, lengths=examples.lengths
        )
    source = _Batches(examples, collate, lane_starts, passes=passes)
    wanted = _WithProgress(order, steps)
    if workers:
        yield from _from_workers(source, wanted, workers)
    else:
        yield from map(source.__getitem__, wanted)


class _WithProgress(Sampler[tuple[float, list[Key]]]):
    """The keys of each micro-batch with the share of the run that is over before its step."""

    def __init__(self, order: Order, steps: range) -> None:
        self.order, self.steps = order, steps

    def __iter__(self) -> Iterator[tuple[float, list[Key]]]:
        last = max(1, self.steps.stop - 1)
        for number, keys in enumerate(self.order):
            step = self.steps.start + number // self.order.share.micro_batches
            yield min(1.0, step / last), keys


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


def _from_workers(source: _Batches, wanted: _WithProgress, workers: int) -> Generator[Batch]:
    """Yield batches that worker processes prefetch."""
    loader = DataLoader(
        source,
        sampler=wanted,
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
    examples: ExampleSet, collate: Collate, *, batch_size: int, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """Yield every example once, in order; a masked objective masks the same tokens each time.

    Each rank reads every `world_size`-th of the batches of a single process.
    """
    source, number = _Batches(examples, collate, evaluating=True), len(examples)
    for first in range(rank * batch_size, number, world_size * batch_size):
        yield source[0.0, [(0, index) for index in range(first, min(first + batch_size, number))]]


def evaluation_streams(
    examples: ExampleSet, collate: Collate, *, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """Yield every example once, in lanes: each continues that of the previous batch.

    The number of lanes, and so the result, depends only on the examples; each rank reads whole
    lanes. When lanes end, later batches have fewer rows, always the first ones.
    """
    number = len(examples)
    cut = lanes(number, max(1, min(MOST_LANES, number // SHORTEST_LANE)))
    own = [lane for lane in cut[rank::world_size] if lane]
    starts = frozenset(lane[0] for lane in own)
    source = _Batches(examples, collate, starts, evaluating=True)
    for place in range(max(map(len, own), default=0)):
        yield source[0.0, [(0, lane[place]) for lane in own if place < len(lane)]]
