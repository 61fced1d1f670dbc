"""Seeding, and blocks of code that leave the random generators as they found them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run the block from `seed`, then give every torch generator back the state it had."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
