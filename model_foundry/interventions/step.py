"""One step of a chain: a registered function with its settings, seed and plan.

Whatever a step raises becomes one line that names the step and the document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.config.data import InterventionStep
from model_foundry.errors import DataError, FoundryError
from model_foundry.foundation.messages import reason_of
from model_foundry.interventions.registration import (
    Intervention,
    intervention,
    keywords,
    parse_settings,
    refusal,
)

VERSION = 1
"""Of the built-in steps: raised when one of them makes something else of the same text."""
LONGEST_START = 60  # characters of a document in a message
Document = tuple[int, str]
"""A text, behind its number in the split."""


def step_seed(data_seed: int, position: int, name: str) -> int:
    """Return the seed of a step; its settings are no part of it, so that controls are matched.

    Args:
        data_seed: of the experiment.
        position: in `data.interventions`, counted from 0.
        name: of the step.
    """
    digest = hashlib.sha256(f"{data_seed} {position} {name}".encode()).digest()
    return int.from_bytes(digest[:16], "little")


def plain(value: Any) -> Any:
    """Return a setting as JSON can hold it, sets in order."""
    if isinstance(value, frozenset | set):
        return sorted(map(plain, value))
    if isinstance(value, dict):
        return {str(key): plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [plain(below) for below in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _no_text(text: str) -> str | None:
    """Return what in a string is no text; None: it is text."""
    if "\0" in text:
        return "a zero character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half a surrogate pair"
    return None


@dataclass
class Step:
    """One step of a chain."""

    field: str
    """Where it stands in the experiment, for messages."""
    intervention: Intervention
    settings: dict[str, Any]
    """As the function takes them."""
    given: dict[str, Any]
    """As the experiment gives them."""
    seed: int
    needs_survey: bool
    beside: Any
    """What the result depends on beside name, settings and seed; plain data."""
    planned: NDArray[Any] | None = None
    """What each document of the split is told, (N,); None: nothing, or it is not known yet."""

    @classmethod
    def of(cls, step: InterventionStep, position: int, data_seed: int) -> Step:
        """Make a link of the step that stands at `position` of `data.interventions`.

        Raises:
            ConfigError: the step is unknown, or its settings are wrong.
        """
        place, known = f"data.interventions.{position}", intervention(step.step)
        parsed = parse_settings(step.step, step.settings, place)
        try:
            beside = plain(known.cache_key(parsed)) if known.cache_key else None
        except FoundryError:
            raise
        except ValueError as error:
            raise refusal([known.fault(error)], place) from error
        return cls(
            field=f"{place} ({step.step})",
            intervention=known,
            settings={name: getattr(parsed, name) for name in type(parsed).model_fields},
            given=plain(step.settings),
            seed=step_seed(data_seed, position, step.step),
            needs_survey=known.needs_survey(parsed),
            beside=beside,
        )

    def cache_key(self) -> dict[str, Any]:
        """Return plain data on which the result of the step depends, for the key of a cache."""
        return {
            "step": self.intervention.name,
            "settings": plain(self.settings),
            "seed": self.seed,
            "code": self.intervention.source or VERSION,
            "beside": self.beside,
        }

    def apply(self, document: Document) -> str | None:
        """Return what the step makes of a document; None: it is left out.

        Raises:
            DataError: the step raised something, or returned something else.
        """
        assert not self.needs_survey or self.planned is not None, f"{self.field} has no plan"
        after = self._call(self.intervention.function, document)
        if after is not None and not isinstance(after, str):
            kind = type(after).__name__
            raise self._refusal(document, f"returned {kind}, but must return a text or None")
        if after is not None and (fault := _no_text(after)):
            raise self._refusal(document, f"returned a text with {fault}, which no corpus may hold")
        return after

    def removed_sentences(self, document: Document) -> int:
        """Return how many sentences the step takes out of a document."""
        return int(self._call(self.intervention.sentences, document))

    def survey(self, document: Document) -> NDArray[np.int64]:
        """Return what the plan must know of a document, (k,)."""
        counts = self._call(self.intervention.survey, document)
        try:
            return np.array(counts, dtype=np.int64)
        except (ValueError, TypeError, OverflowError) as error:
            raise self._refusal(document, f"its survey: {reason_of(error)}") from error

    def plan(self, surveys: NDArray[np.int64], alive: NDArray[np.bool_]) -> None:
        """Compute the planned value of each document.

        Args:
            surveys: (N, k), for all documents of the split by their number.
            alive: (N,), true for documents that reach the step.
        """
        plan = self.intervention.plan
        assert plan is not None, f"{self.field} needs no plan"
        offered = {**self.settings, "seed": self.seed}
        try:
            told = np.asarray(plan(surveys[alive], **keywords(plan, offered)))
            planned = np.zeros(len(alive), dtype=told.dtype)
            planned[alive] = told
        except FoundryError:
            raise
        except Exception as error:  # it may be somebody else's code
            raise DataError(f"{self.field}: {reason_of(error)}.") from error
        self.planned = planned

    def _call(self, function: Callable[..., Any] | None, document: Document) -> Any:
        assert function is not None, f"{self.field} has no such function"
        index, text = document
        planned = None if self.planned is None else self.planned[index].item()
        offered = {**self.settings, "seed": self.seed, "index": index, "planned": planned}
        try:
            return function(text, **keywords(function, offered))
        except FoundryError:
            raise
        except (Exception, SystemExit) as error:  # it may be somebody else's code
            raise self._refusal(document, f"{type(error).__name__}: {reason_of(error)}") from error

    def _refusal(self, document: Document, reason: str) -> DataError:
        index, text = document
        start = f"{text[:LONGEST_START]!r}"
        return DataError(
            f"{self.field}: document {index:,}, {start}: {reason}; mend the step or leave it out."
        )
