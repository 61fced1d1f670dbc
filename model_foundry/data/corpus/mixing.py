"""The documents of several sources in one order, batch by batch."""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from model_foundry.data.sources.text_batch import NONE, Numbered, TextBatch


class _Reader:
    """The documents of one source, and those of its last batch that are not taken yet."""

    def __init__(self, batches: Iterator[Numbered], places: NDArray[np.int64]) -> None:
        self._batches = batches
        self._held = Numbered(NONE, TextBatch("", NONE))
        self._places, self._taken = places, 0  # in the common order

    def stop(self, end: int) -> int:
        """Return the place of the first document that is not in the batch; `end` if none is."""
        first = self._taken + len(self._held.batch.ends)
        return int(self._places[first]) if first < len(self._places) else end

    def take(self, before: int) -> Numbered:
        """Take the documents whose place is lower."""
        count = int(np.searchsorted(self._places, before)) - self._taken
        self._taken += count
        numbers, batch = self._held
        taken, rest = batch.first(count)
        self._held = Numbered(numbers[count:], rest)
        return Numbered(numbers[:count], taken)

    def read_on(self) -> Numbered:
        """Take the text behind the last document, and read the next batch."""
        rest = self._held
        self._held = next(self._batches)
        return rest


def mixed(sources: Sequence[Iterator[Numbered]], labels: NDArray[np.int16]) -> Iterator[Numbered]:
    """Yield the documents of several sources.

    Args:
        labels: (D,) index of the source of each document, in the order in which they are yielded.
    """
    places = (np.flatnonzero(labels == source) for source in range(len(sources)))
    readers = [_Reader(*pair) for pair in zip(sources, places, strict=True)]
    start = 0
    while start < len(labels):
        stop = min(reader.stop(len(labels)) for reader in readers)
        found = [reader.take(stop) for reader in readers]
        order = np.argsort(np.argsort(labels[start:stop], kind="stable"), kind="stable")
        numbers = np.concatenate([numbers for numbers, _ in found])
        yield Numbered(numbers[order], TextBatch.joined([batch for _, batch in found]).pick(order))
        start = stop
        if start < len(labels):
            yield readers[labels[start]].read_on()
    for source in sources:  # to its end, where it notes what it has left out
        deque(source, maxlen=0)
