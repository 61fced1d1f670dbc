"""The chain of steps that is applied to the documents of a split.

Steps that depend on all documents first get a pass over the corpus: `survey` in batches, `plan`
once. After that `apply` is a pure function of each document.
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

    links: list[Step] = field(default_factory=list)

    @classmethod
    def of(cls, steps: Sequence[InterventionStep], split: Split, seed: int) -> Chain:
        """Make the chain of a split.

        Args:
            steps: all of `data.interventions`.
            split: the split; steps for others are left out.
            seed: data seed of the experiment.

        Raises:
            ConfigError: a step is unknown, its settings are wrong, or what it needs is missing.
        """
        return cls(
            [Step.of(step, at, seed) for at, step in enumerate(steps) if split in step.splits]
        )

    def __len__(self) -> int:
        return len(self.links)

    def cache_key(self) -> list[dict[str, Any]]:
        """Return plain data on which the result depends, for the key of a cache."""
        return [link.cache_key() for link in self.links]

    def needs_surveys(self) -> list[int]:
        """Return the positions of the steps that must be planned, in the order to do so."""
        return [at for at, link in enumerate(self.links) if link.needs_survey]

    def survey(
        self, position: int, documents: Sequence[Document]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Survey documents as the steps before `position` leave them.

        Returns:
            (n, k) surveys, zero for documents that are dropped before, and (n,) which are not.
        """
        link = self.links[position]
        texts = [self._text_before(position, document) for document in documents]
        alive = np.array([text is not None for text in texts], dtype=np.bool_)
        found = [
            link.survey((index, text))
            for (index, _), text in zip(documents, texts, strict=True)
            if text is not None
        ]
        # k is known from a survey only, so that of no text stands in where none is left
        width = len(found[0] if found else link.survey((0, "")))
        if any(survey.shape != (width,) for survey in found):
            raise DataError(f"{link.field}: its surveys differ in length; mend the step.")
        surveys = np.zeros((len(documents), width), dtype=np.int64)
        if found:
            surveys[alive] = found
        return surveys, alive

    def _text_before(self, position: int, document: Document) -> str | None:
        index, text = document
        for link in self.links[:position]:
            after = link.apply((index, text))
            if after is None:
                return None
            text = after
        return text

    def plan(self, position: int, surveys: NDArray[np.int64], alive: NDArray[np.bool_]) -> None:
        """Plan a step from the surveys of all documents.

        Args:
            surveys: (N, k), for all documents of the split by their number.
            alive: (N,), which of them reach the step.

        Raises:
            DataError: they cannot be planned for, such as too few sentences for a control.
        """
        self.links[position].plan(surveys, alive)

    def apply(self, documents: Iterable[Document]) -> Applied:
        """Take documents through all steps.

        Raises:
            DataError: a step cannot be done.
        """
        report, texts = self.blank_report(), []
        for index, text in documents:
            after = self._apply_one(index, text, report)
            if after is not None:
                texts.append((index, after))
        return Applied(texts, report)

    def blank_report(self) -> Report:
        """Return the report of no documents, into which others can be merged."""
        return Report(
            [
                StepReport(
                    step=link.intervention.name,
                    settings=link.given,
                    sentences_removed=None if link.intervention.sentences is None else 0,
                )
                for link in self.links
            ]
        )

    def _apply_one(self, index: int, text: str, report: Report) -> str | None:
        words = len(text.split()) if self.links else 0
        for link, counted in zip(self.links, report.steps, strict=True):
            after = link.apply((index, text))
            left = 0 if after is None else words if after == text else len(after.split())
            counted.count(index, text, after, (words, left))
            if counted.sentences_removed is not None and after != text:
                counted.sentences_removed += link.removed_sentences((index, text))
            if after is None:
                return None
            text, words = after, left
        return text
