"""Reports: examples around the first difference, and merging in any order."""

import json
import random

import pytest

from model_foundry.interventions.report import Example, Report, StepReport


def report_of(documents: list[tuple[int, str, str | None]]) -> Report:
    step = StepReport("replace", {"pattern": "a"})
    for index, before, after in documents:
        step.count(index, before, after, (len(before.split()), len((after or "").split())))
    return Report([step])


def test_short_examples_are_whole() -> None:
    assert Example.of(3, "a b", "a c") == Example(3, "a b", "a c")
    assert Example.of(3, "a b", None) == Example(3, "a b", None)


def test_long_examples_show_the_first_difference() -> None:
    same = "x" * 1000
    example = Example.of(0, f"{same}A{same}", f"{same}B{same}")
    assert example.before == f"...{same[:100]}A{same[:199]}..."
    assert example.after == f"...{same[:100]}B{same[:199]}..."
    assert Example.of(0, same, None).before == f"{same[:300]}..."
    assert Example.of(0, same, same[:990]).after == f"...{same[:100]}"


def test_merged_parts_are_the_report_of_the_whole() -> None:
    documents: list[tuple[int, str, str | None]] = [
        (index, f"a {index}", [None, f"a {index}", f"b c {index}"][index % 3])
        for index in range(60)
    ]
    whole = report_of(documents)
    (step,) = whole.steps
    assert (step.documents, step.changed, step.dropped) == (60, 20, 20)
    assert (step.words_before, step.words_after) == (120, 20 * 2 + 20 * 3)
    assert [example.index for example in step.examples] == [0, 2, 3, 5, 6, 8, 9, 11, 12, 14]
    parts = [report_of(documents[at : at + 7]) for at in range(0, 60, 7)]
    random.Random(1).shuffle(parts)
    merged = Report([StepReport("replace", {"pattern": "a"})])
    for part in parts:
        merged.merge(Report.from_json(json.loads(json.dumps(part.as_json()))))
    assert merged == whole


def test_reports_of_different_steps_are_not_merged() -> None:
    with pytest.raises(ValueError, match="do not go together"):
        report_of([]).merge(Report([StepReport("replace", {"pattern": "b"})]))
