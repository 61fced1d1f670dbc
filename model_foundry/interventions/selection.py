"""The selection of sentences to drop, and its matched control: as many others, drawn at random.

The number is matched over the whole corpus, since a document may be a single sentence: the numbers
per document are drawn from the multivariate hypergeometric distribution, as if all sentences that
may be dropped were in one urn.
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
"""The sentences of a document, and a flag for each that matches."""


def plan_control(surveys: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Draw the number of sentences to remove from each document.

    Args:
        surveys: (N, 2), the counts of `Selection.survey`.

    Raises:
        ValueError: there are fewer other sentences than matching ones.
    """
    import numpy as np  # imported here: experiment files are checked without it

    number, others = int(surveys[:, 0].sum()), surveys[:, 1]
    if number > others.sum():
        raise ValueError(
            f"the control drops as many other sentences as match (={number:,}), and there are only "
            f"{int(others.sum()):,}; match less, or add text"
        )
    if not len(others):
        return others
    rng = np.random.Generator(np.random.PCG64(seed))
    return rng.multivariate_hypergeometric(others, number, method="marginals").astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A step that drops the sentences that match, or keeps only these."""

    marked: Callable[..., Marked]
    """A function of a text and the settings."""
    keep: bool
    """True if the others are dropped. These are usually most of a corpus, so the control draws from
    all sentences and keeps as many."""

    def functions(self) -> dict[str, Any]:
        """Return the functions for `register_intervention`."""
        return {
            "survey": self.survey,
            "plan": plan_control,
            "surveyed": lambda settings: settings.control,
            "sentences": self.num_dropped,
        }

    def survey(self, text: str, **settings: Any) -> tuple[int, int]:
        """Count the sentences to drop, and those that the control may drop."""
        _, dropped, candidates = self._split(text, settings)
        return len(dropped), len(candidates)

    def num_dropped(self, text: str, *, planned: int | None, **settings: Any) -> int:
        """Return the number of sentences to drop from a document."""
        return len(self._split(text, settings)[1]) if planned is None else planned

    def remaining(
        self, text: str, *, planned: int | None, seed: int, index: int, **settings: Any
    ) -> str | None:
        """Return the rest of a document, unchanged; None if no sentence is left.

        Args:
            planned: number of sentences that the control drops; None: this is not a control.
        """
        sentences, dropped, candidates = self._split(text, settings)
        if planned is not None:
            dropped = random.Random(f"{seed}-{index}").sample(candidates, planned)
        if dropped and len(dropped) == len(sentences):
            return None
        gone = frozenset(dropped)
        return "".join(sentence for at, sentence in enumerate(sentences) if at not in gone)

    def _split(
        self, text: str, settings: dict[str, Any]
    ) -> tuple[Sequence[str], list[int], list[int]]:
        """Return the sentences, the places of those to drop, and of those a control may drop."""
        sentences, matching = self.marked(text, **keywords(self.marked, settings))
        dropped = [at for at, matches in enumerate(matching) if matches is not self.keep]
        candidates = [at for at, matches in enumerate(matching) if self.keep or not matches]
        return sentences, dropped, candidates
