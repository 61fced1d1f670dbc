"""The text that a tokenizer is trained on: a whole split, or an even sample within the limit."""

from itertools import pairwise
from pathlib import Path

import pytest

from model_foundry.data.corpus.corpus import Component
from model_foundry.data.corpus.text_sample import sample_of
from model_foundry.data.sources.text_batch import PIECE
from model_foundry.errors import DataError
from tests.data.corpora import Texts, documents_of, split_of, text_of, texts_of


def size_of(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def test_without_a_limit_or_below_it_every_character_is_yielded(tmp_path: Path) -> None:
    texts = [*documents_of(20), text_of(20_000, 0)]
    for limit in (None, size_of(texts), 10**9):
        sample = list(sample_of(split_of(texts), limit))
        assert "".join(sample) == "".join(texts)
        assert max(map(len, sample)) <= PIECE


@pytest.mark.parametrize("letter", ["a", "é", "東", "🗼"])
def test_a_limit_is_in_bytes_and_met_with_an_even_share(letter: str) -> None:
    texts = [letter * 50 + str(number) for number in range(1000)]
    limit = size_of(texts) // 10
    sample = list(sample_of(split_of(texts), limit))
    assert limit - size_of(texts[-1:]) <= size_of(sample) <= limit
    places = [texts.index(text) for text in sample]
    gaps = [after - before for before, after in pairwise(places)]
    # the first is taken in advance
    assert places == sorted(places) and 8 <= min(gaps[1:]) <= max(gaps[1:]) <= 12
    assert gaps[0] <= 20 and places[-1] > 980


def test_the_share_ignores_documents_outside_the_split() -> None:
    texts = documents_of(400)
    for split in (
        split_of(Component(Texts(texts), ("documents", 20))),
        split_of(texts, role="held out", validation_documents=20),
    ):
        own = texts_of(split)
        assert list(sample_of(split, size_of(own))) == own
        assert 0 < size_of(list(sample_of(split, size_of(own) // 2))) <= size_of(own) // 2


def test_a_limit_below_the_first_document_yields_that(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert list(sample_of(split_of(["abcdef", "ghi"]), 1)) == ["abcdef"]
    assert "trained on 11.1% of the text (tokenizer.training_bytes=1)" in caplog.text


@pytest.mark.parametrize("limit", [None, 5])
def test_no_text_is_refused(limit: int | None) -> None:
    split = split_of(["abc"], interventions=[{"step": "replace", "pattern": ".", "by": ""}])
    with pytest.raises(DataError, match=r"data\.train: no document is left"):
        list(sample_of(split, limit))
