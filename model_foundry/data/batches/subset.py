"""Some examples of a set, under numbers of their own."""

import hashlib

import numpy as np

from model_foundry.data.batches.examples import Examples, ExampleSet, Key
from model_foundry.data.tokens.ranges import Ints


def drawn(number: int, *, of: int, seed: int) -> Ints:
    """Draw `number` of the first `of` integers, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(of)[:number])


class Subset(ExampleSet):
    """Some examples of a set.

    Args:
        indices: (N,) of the examples.
        first_pass: read each example as in the first pass, with the masks and the random
            transforms that it had there.
    """

    def __init__(self, examples: ExampleSet, indices: Ints, *, first_pass: bool = False) -> None:
        self.examples, self.indices, self.first_pass = examples, indices, first_pass
        self.units = examples.units

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, keys: list[Key], *, evaluating: bool = False) -> Examples:
        """Read examples by the numbers of the subset; their keys are those of the whole set."""
        own = [(0 if self.first_pass else turn, int(self.indices[place])) for turn, place in keys]
        return self.examples.read(own, evaluating=evaluating)

    @property
    def content_sha256(self) -> str:
        digest = hashlib.sha256(self.examples.content_sha256.encode())
        digest.update(np.ascontiguousarray(self.indices, dtype="<i8").data)
        return digest.hexdigest()

    def describe(self) -> str:
        return f"{len(self):,} of {len(self.examples):,} examples"

    @property
    def lengths(self) -> Ints | None:
        lengths = self.examples.lengths
        return None if lengths is None else lengths[self.indices]

    @property
    def totals(self) -> dict[str, int]:
        """The share of the totals of the whole set that these examples have on average."""
        share = len(self) / max(len(self.examples), 1)
        return {unit: round(total * share) for unit, total in self.examples.totals.items()}

    def figures(self) -> dict[str, float]:
        """Return the figures of the whole set."""
        return self.examples.figures()
