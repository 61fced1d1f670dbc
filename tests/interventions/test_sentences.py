"""Steps on sentences, and the matched control."""

import random
import re
from collections import Counter

import numpy as np
import pytest

from model_foundry.errors import DataError
from model_foundry.interventions.selection import plan_control
from model_foundry.interventions.sentence_splitter import sentences
from model_foundry.interventions.sentences import drop_sentences, keep_sentences, shuffle_sentences
from tests.interventions.passes import taken, texts_after

GIVEN = {"seed": 1, "index": 0}
TEXT = "The cat sat. Dogs bark!  The CAT ran.\nNo.  "


def corpus(size: int) -> list[str]:
    """Documents of one to five sentences, some of which are about a cat."""
    rng = random.Random(3)
    kinds = ["A cat sat here. ", "Dogs bark. ", "It rains\n", "He ran.  "]
    return ["".join(rng.choices(kinds, k=rng.randint(1, 5))) for _ in range(size)]


def counted(texts: list[str]) -> Counter[str]:
    return Counter(sentence for text in texts for sentence in sentences(text))


def test_matching_sentences_are_dropped_and_the_rest_is_unchanged() -> None:
    assert drop_sentences(TEXT, **GIVEN, pattern="cat") == "Dogs bark!  The CAT ran.\nNo.  "
    assert drop_sentences(TEXT, **GIVEN, pattern="cat", ignore_case=True) == "Dogs bark!  No.  "
    assert drop_sentences(TEXT, **GIVEN, pattern=r"\.$") == "Dogs bark!  "
    assert drop_sentences(TEXT, **GIVEN, pattern="mouse") == TEXT
    assert drop_sentences(TEXT, **GIVEN, pattern=".") is None


def test_whole_words_of_a_list_are_found() -> None:
    words = frozenset({"cat", "bar"})
    assert drop_sentences(TEXT, **GIVEN, words=words) == "Dogs bark!  The CAT ran.\nNo.  "
    assert keep_sentences(TEXT, **GIVEN, words=words) == "The cat sat. "
    both = keep_sentences(TEXT, **GIVEN, words=words, ignore_case=True)
    assert both == "The cat sat. The CAT ran.\n"


def test_keeping_and_dropping_share_a_text_between_them() -> None:
    assert keep_sentences(TEXT, **GIVEN, pattern="cat") == "The cat sat. "
    assert keep_sentences(TEXT, **GIVEN, pattern="mouse") is None
    assert keep_sentences("", **GIVEN, pattern="mouse") == ""


def test_shuffled_sentences_leave_the_white_space_where_it_is() -> None:
    text = "  One is. Two is!\n\nThree is?  Four is"
    drawn = {shuffle_sentences(text, seed=1, index=index) for index in range(300)}
    assert len(drawn) == 24
    for shuffled in drawn:
        assert re.sub(r"(?m)(?<=\S) (?=is)|\S", "", shuffled) == "   \n\n  "
        assert Counter(shuffled.split()) == Counter(text.split())


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_the_control_of_dropping_drops_as_many_and_none_that_matches(batch: int) -> None:
    texts = corpus(100)
    before = counted(texts)
    treated = taken({"step": "drop_sentences", "pattern": "cat"}, texts=texts)
    control = taken({"step": "drop_sentences", "pattern": "cat", "control": True}, texts=texts)
    after = counted([text for _, text in control.texts])
    number = before["A cat sat here. "]
    assert number > 20
    assert after["A cat sat here. "] == number
    assert before.total() - after.total() == number
    for applied in (treated, control):
        assert applied.report.steps[0].sentences_removed == number
    assert counted([text for _, text in treated.texts])["A cat sat here. "] == 0


def test_the_control_of_keeping_keeps_as_many_of_any_kind() -> None:
    texts = corpus(100)
    treated = taken({"step": "keep_sentences", "pattern": "cat"}, texts=texts)
    control = taken({"step": "keep_sentences", "pattern": "cat", "control": True}, texts=texts)
    kept = [counted([text for _, text in applied.texts]) for applied in (treated, control)]
    assert kept[0].total() == kept[1].total() == counted(texts)["A cat sat here. "]
    assert len(kept[0]) == 1
    assert len(kept[1]) == 4
    assert treated.report.steps[0].sentences_removed == control.report.steps[0].sentences_removed


def test_the_control_works_where_each_document_is_one_sentence() -> None:
    texts = ["a cat"] * 30 + ["a dog"] * 40
    applied = taken({"step": "drop_sentences", "pattern": "cat", "control": True}, texts=texts)
    assert Counter(text for _, text in applied.texts) == {"a cat": 30, "a dog": 10}


def test_all_other_sentences_are_equally_likely_to_be_dropped() -> None:
    texts = ["cat.\ncat.\na.\nb.\nc.\n", "d.\n"]
    gone: Counter[str] = Counter()
    step = {"step": "drop_sentences", "pattern": "cat", "control": True}
    for seed in range(600):
        left = counted(texts_after(step, texts=texts, seed=seed))
        gone += counted(texts) - left
    assert gone.total() == 1200
    assert set(gone) == {"a.\n", "b.\n", "c.\n", "d.\n"}
    assert all(250 < number < 350 for number in gone.values())  # 300 +- 4 sigma


def test_the_plan_never_drops_more_than_a_document_has() -> None:
    surveys = np.array([[5, 0], [0, 3], [2, 4], [0, 0]], dtype=np.int64)
    plan = plan_control(surveys, seed=2)
    assert plan.tolist() == [0, 3, 4, 0]  # all seven
    assert plan_control(np.zeros((0, 2), dtype=np.int64), seed=2).tolist() == []


def test_a_control_without_enough_others_is_refused() -> None:
    step = {"step": "drop_sentences", "pattern": "cat", "control": True}
    law = r"data.interventions.0 \(drop_sentences\): .* match \(=2\), and there are only 1"
    with pytest.raises(DataError, match=law):
        taken(step, texts=["A cat. A cat.", "A dog."])
