"""Properties of all built-in steps, on a corpus that each of them changes.

`ai_step` has its own tests, because it needs an endpoint.
"""

import pickle
import random
from typing import Any

import pytest

from model_foundry.config import INTERVENTIONS
from model_foundry.interventions import describe
from model_foundry.interventions.chain import Chain
from model_foundry.interventions.report import Report
from tests.interventions.passes import chain_of, planned

TAGGED = {"pipeline": "blank:en", "token_pattern": [{"LOWER": "cat"}]}
STEPS: list[dict[str, Any]] = [
    {"step": "delete_words", "words": ["cat", "no"]},
    {"step": "drop_duplicates"},
    {"step": "drop_sentences", "pattern": "cat"},
    {"step": "drop_sentences", "words": ["cat"], "control": True},
    {"step": "drop_tagged_sentences", **TAGGED},
    {"step": "drop_tagged_sentences", **TAGGED, "control": True},
    {"step": "filter_documents", "keep": "a", "drop": "mouse"},
    {"step": "filter_length", "min": 2, "max": 2, "unit": "sentences"},
    {"step": "keep_sentences", "pattern": "cat"},
    {"step": "keep_sentences", "pattern": "cat", "control": True},
    {"step": "keep_tagged_sentences", **TAGGED},
    {"step": "keep_tagged_sentences", **TAGGED, "control": True},
    {"step": "lowercase"},
    {"step": "normalize_unicode", "form": "NFD"},
    {"step": "replace", "pattern": "a(.)", "by": r"\1a"},
    {"step": "replace_words", "words": {"cat": "dog"}},
    {"step": "shuffle_sentences"},
    {"step": "shuffle_words"},
    {"step": "shuffle_words", "how": "window", "window": 3},
    {"step": "shuffle_words", "how": "reverse"},
]
NAMES = [f"{step['step']}-{number}" for number, step in enumerate(STEPS)]
every_step = pytest.mark.parametrize("step", STEPS, ids=NAMES)
TEXTS = [
    "The cat sat down. A caf\u00e9 was near!  No cat here?\n",
    "A dog and a mouse. Yes, they ran off.",
    "",
    "A dog and a mouse. Yes, they ran off.",
    "  one two three four five six seven",
    "It was all a dream. The Cat knew. Nobody else did. The end is near.",
    "cat",
]


@pytest.fixture(params=STEPS, ids=NAMES)
def chain(request: pytest.FixtureRequest) -> Chain:
    if "pipeline" in request.param:
        pytest.importorskip("spacy")
    return planned(chain_of(request.param), TEXTS)


def test_every_built_in_step_has_a_row() -> None:
    built_in = {n for n in INTERVENTIONS if "model_foundry." in INTERVENTIONS[n].target}
    assert built_in - {step["step"] for step in STEPS} == {"ai_step"}


def test_the_corpus_touches_it(chain: Chain) -> None:
    (step,) = chain.apply(list(enumerate(TEXTS))).report.steps
    assert step.changed or step.dropped
    assert len(step.examples) == step.changed + step.dropped


def test_it_gives_the_same_twice(chain: Chain) -> None:
    documents = list(enumerate(TEXTS))
    once = chain.apply(documents)
    assert chain.apply(documents) == once
    assert planned(chain_of(*_given(chain)), TEXTS).apply(documents) == once


def test_a_document_does_not_depend_on_others_or_on_the_cut(chain: Chain) -> None:
    whole = chain.apply(list(enumerate(TEXTS)))
    order = random.Random(2).sample(list(enumerate(TEXTS)), len(TEXTS))
    single = [chain.apply([document]) for document in order]
    report = chain.blank_report()
    for applied in single:
        report.merge(applied.report)
    assert report == whole.report
    assert sorted(text for applied in single for text in applied.texts) == whole.texts


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_plan_does_not_depend_on_the_cut(chain: Chain, batch: int) -> None:
    again = planned(chain_of(*_given(chain)), TEXTS, batch=batch)
    assert str(again.steps[0].planned) == str(chain.steps[0].planned)


def test_it_travels(chain: Chain) -> None:
    documents = list(enumerate(TEXTS))
    copy = pickle.loads(pickle.dumps(chain))
    assert copy.apply(documents) == chain.apply(documents)
    assert copy.cache_key() == chain.cache_key()


def test_its_report_adds_up(chain: Chain) -> None:
    applied = chain.apply(list(enumerate(TEXTS)))
    (step,) = applied.report.steps
    assert step.documents == len(TEXTS) == len(applied.texts) + step.dropped
    assert step.words_before == sum(len(text.split()) for text in TEXTS)
    assert step.words_after == sum(len(text.split()) for _, text in applied.texts)
    assert step.changed == sum(text != TEXTS[index] for index, text in applied.texts)
    assert Report.from_json(applied.report.as_json()) == applied.report


@every_step
def test_it_is_described(step: dict[str, Any]) -> None:
    first, *settings = describe(step["step"]).splitlines()
    assert first.endswith((".", "`."))
    described = {line.split(":")[0].strip() for line in settings}
    assert set(step) - {"step"} <= described


def _given(chain: Chain) -> list[dict[str, Any]]:
    return [{"step": step.intervention.name, **step.given} for step in chain.steps]
