"""Draws of documents, as pure functions of numbers and a seed."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def shuffled(number: int, seed: int, part: int = 0) -> NDArray[np.int64]:
    """Return the numbers below `number` in the order in which documents are drawn.

    Args:
        part: index of the source in a mixture, so that each has its own draw.
    """
    seeds = [seed, number, part] if part else [seed, number]
    return np.random.default_rng(seeds).random(number).argsort(kind="stable")


def held_out(taken: Mask, count: int, seed: int) -> Mask:
    """Draw `count` of the documents that the experiment uses, which are `taken`, (N,)."""
    places = np.flatnonzero(taken)
    drawn = np.zeros_like(taken)
    drawn[places[shuffled(len(places), seed)[:count]]] = True
    return drawn


def last(taken: Mask, count: int) -> Mask:
    """Return the last `count` of the documents in use, which are `taken`, (N,)."""
    found = np.zeros_like(taken)
    found[np.flatnonzero(taken)[-count:]] = True
    return found


def within_budget(sizes: NDArray[np.int64], amount: int, seed: int, part: int = 0) -> Mask:
    """Draw documents, and skip those that would exceed the budget.

    Args:
        sizes: (N,) size of each document in the unit of the budget.
        part: see `shuffled`.

    Returns:
        (N,) the documents drawn; they sum to at most `amount`.
    """
    order = shuffled(len(sizes), seed, part)
    sums = np.cumsum(sizes[order])
    fitting = int(np.searchsorted(sums, amount, side="right"))
    taken = np.zeros(len(sizes), dtype=np.bool_)
    taken[order[:fitting]] = True
    room = amount - (int(sums[fitting - 1]) if fitting else 0)
    rest = order[fitting:]
    while room:  # for the next document that fits
        rest = rest[sizes[rest] <= room]
        if not len(rest):
            break
        taken[rest[0]] = True
        room -= int(sizes[rest[0]])
        rest = rest[1:]
    return taken


def interleaved(counts: list[int], seed: int) -> NDArray[np.int16]:
    """Return the index of the source of each document of a mixture.

    Args:
        counts: documents of each source, which keep their order.
    """
    labels = np.repeat(np.arange(len(counts), dtype=np.int16), counts)
    np.random.default_rng([seed, *counts]).shuffle(labels)
    return labels
