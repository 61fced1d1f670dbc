"""Chains: seeds, splits, plans, reports, cache keys, and failing steps."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from model_foundry.config import INTERVENTIONS
from model_foundry.errors import DataError, Interrupted
from model_foundry.interventions import register_intervention
from model_foundry.interventions.step import step_seed
from tests.interventions.passes import chain_of, planned, taken

CONTROL = {"step": "drop_sentences", "pattern": "cat", "control": True}


@pytest.fixture
def failing() -> Iterator[None]:
    @register_intervention("failing", survey=lambda text: (1,) * len(text), plan=lambda s: s[:, 0])
    def failing(text: str, *, planned: int, kind: str = "") -> Any:
        if kind == "stop":
            raise Interrupted("SIGINT: stopped")
        if kind == "exit":
            raise SystemExit(0)
        return {"number": 3, "zero": "a\0b", "surrogate": "a\ud800"}.get(kind) or [][len(text)]

    yield
    INTERVENTIONS.remove("failing")


def test_steps_are_applied_in_order_and_counted() -> None:
    texts = ["The Cat ran. It sat.", "a dog", "", "THE CAT"]
    steps: tuple[dict[str, Any], ...] = (
        {"step": "lowercase"},
        {"step": "drop_sentences", "pattern": "cat"},
        {"step": "filter_length", "min": 1},
    )
    applied = taken(*steps, texts=texts)
    assert applied.texts == [(0, "it sat."), (1, "a dog")]
    lower, drop, length = applied.report.as_json()
    assert (lower["documents"], lower["changed"], lower["dropped"]) == (4, 2, 0)
    assert (lower["words_before"], lower["words_after"]) == (9, 9)
    assert (drop["documents"], drop["changed"], drop["dropped"]) == (4, 1, 1)
    assert (drop["words_before"], drop["words_after"]) == (9, 4)
    assert drop["sentences_removed"] == 2
    assert drop["settings"] == {"pattern": "cat"}
    assert drop["examples"] == [
        {"index": 0, "before": "the cat ran. it sat.", "after": "it sat."},
        {"index": 3, "before": "the cat", "after": None},
    ]
    assert (length["documents"], length["dropped"], length["sentences_removed"]) == (3, 1, None)


def test_an_empty_chain_changes_nothing() -> None:
    chain = chain_of()
    assert (len(chain), chain.needs_surveys(), chain.cache_key()) == (0, [], [])
    assert chain.apply([(0, "a b")]).texts == [(0, "a b")]


def test_a_split_has_the_steps_that_name_it_and_each_keeps_its_seed() -> None:
    steps: list[dict[str, Any]] = [
        {"step": "lowercase", "splits": ["train"]},
        {"step": "shuffle_words"},
        CONTROL | {"splits": ["test"]},
    ]
    train, test = chain_of(*steps), chain_of(*steps, split="test")
    assert [step.intervention.name for step in train.steps] == ["lowercase", "shuffle_words"]
    assert [step.intervention.name for step in test.steps] == ["shuffle_words", "drop_sentences"]
    assert test.needs_surveys() == [1]
    assert train.steps[1].seed == test.steps[0].seed == step_seed(7, 1, "shuffle_words")


def test_seeds_differ_by_data_seed_position_and_name_but_not_by_settings() -> None:
    seeds = {step_seed(*what) for what in [(1, 0, "a"), (2, 0, "a"), (1, 1, "a"), (1, 0, "b")]}
    assert len(seeds) == 4
    treated, control = (CONTROL | {"control": control} for control in (False, True))
    later = {"step": "shuffle_words"}
    made = [chain_of(step, later).cache_key() for step in (treated, control)]
    assert [[step["seed"] for step in chain] for chain in made] == [
        [step_seed(7, 0, "drop_sentences"), step_seed(7, 1, "shuffle_words")]
    ] * 2


def test_the_seed_of_a_step_never_changes() -> None:
    assert step_seed(42, 0, "shuffle_words") == 235048791735649488189746317120315217705


def test_the_cache_key_changes_with_all_that_the_result_depends_on() -> None:
    keys = [
        chain_of(step, seed=seed).cache_key()
        for step, seed in [
            ({"step": "replace", "pattern": "a"}, 7),
            ({"step": "replace", "pattern": "b"}, 7),
            ({"step": "replace", "pattern": "a", "by": "c"}, 7),
            ({"step": "replace", "pattern": "a"}, 8),
            ({"step": "filter_documents", "keep": "a"}, 7),
        ]
    ]
    assert all(a != b for at, a in enumerate(keys) for b in keys[:at])
    same = chain_of({"step": "replace", "pattern": "a", "by": "", "splits": ["train"]}).cache_key()
    assert same == keys[0]


def test_surveys_flag_documents_that_earlier_steps_dropped() -> None:
    chain = chain_of({"step": "filter_documents", "drop": "mouse"}, CONTROL)
    documents = list(enumerate(["A cat. A dog.", "A mouse.", "A dog. A dog."]))
    surveys, alive = chain.survey(1, documents)
    assert surveys.tolist() == [[1, 1], [0, 0], [0, 2]]
    assert (surveys.dtype, alive.tolist()) == (np.int64, [True, False, True])
    surveys, alive = chain.survey(1, documents[1:2])
    assert (surveys.tolist(), alive.tolist()) == ([[0, 0]], [False])
    assert chain.survey(1, [])[0].shape == (0, 2)


def test_planned_values_belong_to_the_documents_that_reach_the_step() -> None:
    chain = chain_of({"step": "filter_documents", "drop": "mouse"}, {"step": "drop_duplicates"})
    planned(chain, ["mouse", "a", "mouse", "a", "b"])
    values = chain.steps[1].planned
    assert values is not None
    assert values.tolist() == [False, True, False, False, True]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("raise", "IndexError: list index out of range"),
        ("exit", "SystemExit: 0"),
        ("number", "returned int, but must return a text or None"),
        ("zero", "returned a text with a zero character, which no corpus may hold"),
        ("surrogate", "returned a text with half a surrogate pair, which no corpus may hold"),
    ],
)
def test_a_step_that_fails_is_named_with_its_document(kind: str, fault: str, failing: None) -> None:
    text = "x" * 70 + "\n"
    chain = planned(chain_of({"step": "lowercase"}, {"step": "failing", "kind": kind}), [text])
    with pytest.raises(DataError) as error:
        chain.apply([(0, text)])
    assert str(error.value) == (
        f"data.interventions.1 (failing): document 0, '{'x' * 60}': {fault}; correct or remove the "
        "step."
    )


def test_an_interruption_is_not_an_error_of_the_step(failing: None) -> None:
    chain = planned(chain_of({"step": "failing", "kind": "stop"}), ["a"])
    with pytest.raises(Interrupted):
        chain.apply([(0, "a")])


def test_surveys_of_different_lengths_are_refused(failing: None) -> None:
    with pytest.raises(DataError, match="its surveys differ in length"):
        planned(chain_of({"step": "failing"}), ["a", "bc"])
