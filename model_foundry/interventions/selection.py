"""The selection of sentences to drop, and its matched control: as many others, drawn at random.

The number is matched over the whole corpus, since a document may be a single sentence: how many go
from each is drawn from the multivariate hypergeometric distribution, as if all sentences that may
go lay in one urn. What matches, the steps say.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from model_foundry.interventions.registration import keywords

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Marked: TypeAlias = tuple[Sequence[str], Sequence[bool]]
"""The sentences of a document, and which of them match."""


def is_control(settings: Any) -> bool:
    """Return True if the control is requested, which needs a survey of all documents."""
    return bool(settings.control)


def plan_control(surveys: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Draw the number of sentences to remove from each document.

    Args:
        surveys: (N, 2), the counts of `Selection.survey`.

    Raises:
        ValueError: there are fewer other sentences than matching ones.
    """
    import numpy as np  # here: an experiment file is checked without it

    number, others = int(surveys[:, 0].sum()), surveys[:, 1]
    if number > others.sum():
        raise ValueError(
            f"the control takes out as many other sentences as match (={number:,}), and there are "
            f"only {int(others.sum()):,}; match less, or add text"
        )
    if not len(others):
        return others
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.multivariate_hypergeometric(others, number, method="marginals").astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Takes out the sentences that match, or keeps only these."""

    marked: Callable[..., Marked]
    """From a text, and the settings as keywords, to its sentences and which of them match."""
    keep: bool
    """True if the others are dropped. These are usually most of a corpus, so that the control draws
    from all sentences and keeps as many."""

    def survey(self, text: str, **settings: Any) -> tuple[int, int]:
        """Count the sentences of a document that go, and those that may go in the control."""
        matching = self._marked(text, settings)[1]
        gone, may_go = self._gone(matching), self._may_go(matching)
        return len(gone), len(may_go)

    def number(self, text: str, *, planned: int | None, **settings: Any) -> int:
        """Return how many sentences of a document go."""
        return len(self._gone(self._marked(text, settings)[1])) if planned is None else planned

    def remaining(
        self, text: str, *, planned: int | None, seed: int, index: int, **settings: Any
    ) -> str | None:
        """Return what is left of a document, byte for byte; None where no sentence is.

        Args:
            planned: how many go in the control; None: it is no control.
        """
        sentences, matching = self._marked(text, settings)
        gone = self._gone(matching)
        if planned is not None:
            gone = random.Random(f"{seed}-{index}").sample(self._may_go(matching), planned)
        if gone and len(gone) == len(sentences):
            return None
        out = frozenset(gone)
        return "".join(sentence for at, sentence in enumerate(sentences) if at not in out)

    def _marked(self, text: str, settings: dict[str, Any]) -> Marked:
        return self.marked(text, **keywords(self.marked, settings))

    def _gone(self, matching: Sequence[bool]) -> list[int]:
        return [at for at, matches in enumerate(matching) if matches is not self.keep]

    def _may_go(self, matching: Sequence[bool]) -> list[int]:
        return [at for at, matches in enumerate(matching) if self.keep or not matches]
