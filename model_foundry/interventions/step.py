"""One step of a chain: a registered function with its settings, seed and plan.

Errors of a step become one line that names the step and the document.
"""

from __future__ import annotations

import hashlib
import json
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
)

VERSION = 1
"""Version of the built-in steps, raised when the result of one of them changes."""
LONGEST_START = 60  # characters of a document in a message
Document = tuple[int, str]
"""The number of a document in its split, and its text."""


def step_seed(data_seed: int, position: int, name: str) -> int:
    """Return the seed of a step at a position of `data.interventions`, counted from 0.

    It does not depend on the settings, so that controls are matched.
    """
    digest = hashlib.sha256(f"{data_seed} {position} {name}".encode()).digest()
    return int.from_bytes(digest[:16], "little")


def plain(value: Any) -> Any:
    """Return a setting as plain JSON data, with sets as sorted lists."""

    def convert(other: Any) -> Any:
        return sorted(map(plain, other)) if isinstance(other, frozenset | set) else str(other)

    return json.loads(json.dumps(value, default=convert))


def _fault_of(text: str) -> str | None:
    """Return the reason why a string cannot be a document; None: it can."""
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
    """Its place in the experiment, for messages."""
    intervention: Intervention
    settings: dict[str, Any]
    """Arguments of the function."""
    given: dict[str, Any]
    """The settings as in the experiment, without defaults."""
    seed: int
    needs_survey: bool
    beside: Any
    """Plain data that the result depends on beside name, settings and seed."""
    planned: NDArray[Any] | None = None
    """The planned value of each document of the split, (N,); None: not needed, or not yet known."""

    @classmethod
    def of(cls, step: InterventionStep, position: int, data_seed: int) -> Step:
        """Create the step at a position of `data.interventions`.

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
            raise known.refusal(error, place) from error
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
        """Return plain data on which the result of the step depends."""
        return {
            "step": self.intervention.name,
            "settings": plain(self.settings),
            "seed": self.seed,
            "code": self.intervention.source or VERSION,
            "beside": self.beside,
        }

    def apply(self, document: Document) -> str | None:
        """Return the changed document; None: it is dropped.

        Raises:
            DataError: the step failed, or did not return a text.
        """
        assert not self.needs_survey or self.planned is not None, f"{self.field} has no plan"
        after = self._call(self.intervention.function, document)
        if after is not None and not isinstance(after, str):
            kind = type(after).__name__
            raise self._refusal(document, f"returned {kind}, but must return a text or None")
        if after is not None and (fault := _fault_of(after)):
            raise self._refusal(document, f"returned a text with {fault}, which no corpus may hold")
        return after

    def removed_sentences(self, document: Document) -> int:
        """Return the number of sentences that the step drops from a document."""
        return int(self._call(self.intervention.sentences, document))

    def survey(self, document: Document) -> NDArray[np.int64]:
        """Return the survey of a document, (k,)."""
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

        Raises:
            DataError: there is no plan, such as with too few sentences for a control.
        """
        plan = self.intervention.plan
        assert plan is not None, f"{self.field} needs no plan"
        offered = {**self.settings, "seed": self.seed}
        try:
            values = np.asarray(plan(surveys[alive], **keywords(plan, offered)))
            planned = np.zeros(len(alive), dtype=values.dtype)
            planned[alive] = values
        except FoundryError:
            raise
        except Exception as error:  # may be a plugin's code
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
        except (Exception, SystemExit) as error:  # may be a plugin's code
            raise self._refusal(document, f"{type(error).__name__}: {reason_of(error)}") from error

    def _refusal(self, document: Document, reason: str) -> DataError:
        index, text = document
        start = f"{text[:LONGEST_START]!r}"
        return DataError(
            f"{self.field}: document {index:,}, {start}: {reason}; correct or remove the step."
        )
