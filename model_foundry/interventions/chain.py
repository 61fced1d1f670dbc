"""The chain of steps that is applied to the documents of a split.

Steps that depend on all documents need a pass over the corpus first: `survey` in batches, then
`plan` once. After that, `apply` is a pure function of each document.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.config.data import InterventionStep, Split
from model_foundry.errors import DataError
from model_foundry.interventions.report import Report, StepReport
from model_foundry.interventions.step import VERSION, Document, Step

__all__ = ["VERSION", "Applied", "Chain", "Document", "Report"]


@dataclass
class Applied:
    """The result of a chain for some documents."""

    texts: list[Document]
    """The documents that remain, in their order."""
    report: Report


@dataclass
class Chain:
    """The steps of one split, in order. Positions count from 0 within the split."""

    steps: list[Step] = field(default_factory=list)

    @classmethod
    def of(cls, steps: Sequence[InterventionStep], split: Split, seed: int) -> Chain:
        """Create the chain of a split.

        Args:
            steps: all of `data.interventions`, including those of other splits.
            seed: data seed of the experiment.

        Raises:
            ConfigError: a step is unknown, or its settings are wrong.
        """
        return cls(
            [Step.of(step, at, seed) for at, step in enumerate(steps) if split in step.splits]
        )

    def __len__(self) -> int:
        return len(self.steps)

    def cache_key(self) -> list[dict[str, Any]]:
        """Return plain data on which the result depends."""
        return [step.cache_key() for step in self.steps]

    def needs_surveys(self) -> list[int]:
        """Return the positions of the steps to plan, in order."""
        return [at for at, step in enumerate(self.steps) if step.needs_survey]

    def survey(
        self, position: int, documents: Sequence[Document]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Survey documents as changed by the steps before `position`.

        Returns:
            (n, k) surveys, zero for documents dropped before; (n,) flags of the others.
        """
        step = self.steps[position]
        texts = [self._text_before(position, document) for document in documents]
        alive = np.array([text is not None for text in texts], dtype=np.bool_)
        found = [
            step.survey((index, text))
            for (index, _), text in zip(documents, texts, strict=True)
            if text is not None
        ]
        # without documents, k is the length of the survey of an empty text
        width = len(found[0] if found else step.survey((0, "")))
        if any(survey.shape != (width,) for survey in found):
            raise DataError(f"{step.field}: its surveys differ in length; correct the step.")
        surveys = np.zeros((len(documents), width), dtype=np.int64)
        if found:
            surveys[alive] = found
        return surveys, alive

    def _text_before(self, position: int, document: Document) -> str | None:
        index, text = document
        for step in self.steps[:position]:
            after = step.apply((index, text))
            if after is None:
                return None
            text = after
        return text

    def plan(self, position: int, surveys: NDArray[np.int64], alive: NDArray[np.bool_]) -> None:
        """Plan a step from the surveys of all documents, as in `Step.plan`."""
        self.steps[position].plan(surveys, alive)

    def apply(self, documents: Iterable[Document]) -> Applied:
        """Apply all steps to documents.

        Raises:
            DataError: a step failed.
        """
        report, texts = self.blank_report(), []
        for index, text in documents:
            after = self._apply_one(index, text, report)
            if after is not None:
                texts.append((index, after))
        return Applied(texts, report)

    def blank_report(self) -> Report:
        """Return the report of no documents, to merge others into."""
        return Report(
            [
                StepReport(
                    step=step.intervention.name,
                    settings=step.given,
                    sentences_removed=None if step.intervention.sentences is None else 0,
                )
                for step in self.steps
            ]
        )

    def _apply_one(self, index: int, text: str, report: Report) -> str | None:
        words = len(text.split()) if self.steps else 0
        for step, counted in zip(self.steps, report.steps, strict=True):
            after = step.apply((index, text))
            left = 0 if after is None else words if after == text else len(after.split())
            counted.count(index, text, after, (words, left))
            if counted.sentences_removed is not None and after != text:
                counted.sentences_removed += step.removed_sentences((index, text))
            if after is None:
                return None
            text, words = after, left
        return text
