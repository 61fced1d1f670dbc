"""Reports of steps on the documents of a split: counts, and the first ten examples of each step.

Reports of parts of a split can be merged in any order.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MOST_EXAMPLES = 10
LONGEST_EXAMPLE = 300  # characters of each side
LEAD = 100  # characters shown before the first difference


@dataclass(frozen=True, order=True)
class Example:
    """A document before and after a step, around the first difference."""

    index: int
    """Number of the document in its corpus."""
    before: str
    after: str | None
    """None: the step dropped the document."""

    @classmethod
    def of(cls, index: int, before: str, after: str | None) -> Example:
        """Shorten both sides for display, with `...` for the missing parts."""
        start = 0
        if after is not None and max(len(before), len(after)) > LONGEST_EXAMPLE:
            start = max(0, _first_difference(before, after) - LEAD)
        return cls(index, _cut(before, start), None if after is None else _cut(after, start))


def _first_difference(one: str, other: str) -> int:
    alike = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(alike) if a != b), min(len(one), len(other)))


def _cut(text: str, start: int) -> str:
    end = start + LONGEST_EXAMPLE
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"


@dataclass
class StepReport:
    """The counts and examples of one step."""

    step: str
    """Name of the step."""
    settings: dict[str, Any]
    """Settings as in the experiment."""
    documents: int = 0
    """Documents that reached the step."""
    changed: int = 0
    """Documents that it changed and kept."""
    dropped: int = 0
    words_before: int = 0
    """Words between white space in the documents that reached it."""
    words_after: int = 0
    sentences_removed: int | None = None
    """None: the step does not work on sentences."""
    examples: list[Example] = field(default_factory=list)
    """The first documents that it changed or dropped."""

    def count(self, index: int, before: str, after: str | None, words: tuple[int, int]) -> None:
        """Add one document, with its numbers of words before and after."""
        self.documents += 1
        self.words_before += words[0]
        self.words_after += words[1]
        if after == before:
            return
        self.changed += after is not None
        self.dropped += after is None
        full = len(self.examples) == MOST_EXAMPLES
        if not full or index < self.examples[-1].index:
            self.examples.append(Example.of(index, before, after))
            self.examples = sorted(self.examples)[:MOST_EXAMPLES]

    def merge(self, other: StepReport) -> None:
        """Add the report of the same step on other documents."""
        if (self.step, self.settings) != (other.step, other.settings):
            raise ValueError(f"reports of {self.step!r} and {other.step!r} do not go together")
        for name in ("documents", "changed", "dropped", "words_before", "words_after"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.sentences_removed is not None:
            self.sentences_removed = (self.sentences_removed or 0) + other.sentences_removed
        self.examples = sorted([*self.examples, *other.examples])[:MOST_EXAMPLES]


@dataclass
class Report:
    """The reports of all steps of a split, in their order."""

    steps: list[StepReport] = field(default_factory=list)

    def merge(self, other: Report) -> None:
        """Add the report of the same steps on other documents."""
        for mine, theirs in zip(self.steps, other.steps, strict=True):
            mine.merge(theirs)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the reports as plain data."""
        return [asdict(step) for step in self.steps]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> Report:
        """Create a report from the result of `as_json`."""
        return cls(
            [
                StepReport(**{**step, "examples": [Example(**e) for e in step["examples"]]})
                for step in data
            ]
        )
