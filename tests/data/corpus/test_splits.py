"""Splits, budgets, mixtures and repeats: exact counts, disjoint parts, constant order."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_foundry.config import DataConfig
from model_foundry.data.corpus.corpus import Component
from model_foundry.data.corpus.splits import Split, open_splits
from model_foundry.data.sources.text_batch import NONE, TextBatch
from model_foundry.errors import DataError
from model_foundry.foundation import process_pool
from model_foundry.synthetic_language import load_language
from tests.data.corpora import Texts, documents_of, split_of, text_of, texts_of

DOCUMENTS = [f"document {number}" for number in range(100)]


def both(*components: Any, seed: int = 0, **settings: Any) -> tuple[list[str], list[str]]:
    """Return the training documents and the held-out documents."""
    rest, held = (
        texts_of(split_of(*components, role=role, seed=seed, **settings))
        for role in ("rest", "held out")
    )
    return rest, held


# --- by document ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("settings", "number"),
    [
        ({"validation_fraction": 0.1}, 10),
        ({"validation_fraction": 0.015}, 2),
        ({"validation_documents": 37}, 37),
        ({"validation_documents": 99, "validation_fraction": 0.1}, 99),
    ],
)
def test_each_document_is_in_one_part_in_the_order_of_the_corpus(
    settings: dict[str, Any], number: int, seed: int
) -> None:
    train, held_out = both(DOCUMENTS, seed=seed, **settings)
    assert len(held_out) == number
    assert sorted(train + held_out, key=DOCUMENTS.index) == DOCUMENTS
    for part in (train, held_out):
        assert part == sorted(part, key=DOCUMENTS.index)


def test_the_seed_draws_the_documents() -> None:
    drawn = [both(DOCUMENTS, seed=seed)[1] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_both_parts_of_a_small_corpus_hold_a_document() -> None:
    for fraction in (0.001, 0.999):
        train, held_out = both(["a", "b"], validation_fraction=fraction)
        assert len(train) == len(held_out) == 1


@pytest.mark.parametrize(
    ("documents", "settings", "message"),
    [
        (["a"], {}, r"single document.* set data\.split_by=position, or data\.document=line"),
        (["a", " \n"], {}, "single document"),
        ([], {}, "texts: holds no text; name a corpus with text"),
        (["\n", ""], {}, "texts: holds no text"),
        (["a", "b"], {"validation_documents": 2}, r"validation_documents \(=2\) leaves nothing to"),
        (
            ["a"],
            {"split_by": "position", "validation_fraction": 0.1},
            r"validation_fraction \(=0\.1\) of 1 characters leaves an empty part",
        ),
        ([" "], {"split_by": "position"}, "of 0 characters leaves an empty part"),
    ],
)
def test_a_corpus_that_cannot_be_split_is_refused(
    documents: list[str], settings: dict[str, Any], message: str
) -> None:
    for role in ("rest", "held out"):
        with pytest.raises(DataError, match=message) as caught:
            texts_of(split_of(documents, role=role, **settings))
        assert "\n" not in str(caught.value)


def test_documents_of_white_space_have_no_number_and_are_counted() -> None:
    split = split_of(["a", " ", "\n\n", "b", "", "c"])
    assert np.concatenate([numbers for numbers, _ in split.whole()]).tolist() == [0, 1, 2]
    assert split.left_out() == {"blank documents": 3}
    list(split.whole())
    assert split.left_out() == {"blank documents": 3}  # of the last reading only


# --- by position ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("documents", "fraction", "parts"),
    [
        (["abcd", "efgh", "ij"], 0.3, (["abcd", "efg"], ["h", "ij"])),
        (["abcdefghij"], 0.1, (["abcdefghi"], ["j"])),
        (["abcde", "fghij"], 0.5, (["abcde"], ["fghij"])),
        (["abc", "d", "efghij"], 0.6, (["abc", "d"], ["efghij"])),
    ],
)
def test_the_last_part_of_the_text_is_held_out(
    documents: list[str], fraction: float, parts: tuple[list[str], list[str]], size: int
) -> None:
    source = Component(Texts(documents, size=size))
    assert both(source, split_by="position", validation_fraction=fraction) == parts


def test_a_document_that_ends_at_the_border_leaves_none_behind_it() -> None:
    class Broken(Texts):
        def batches(self) -> Any:
            for text in self.documents:
                yield TextBatch(text, NONE)
                yield TextBatch("", np.zeros(1, np.int64))

    parts = both(Component(Broken(["ab", "cd"])), split_by="position", validation_fraction=0.5)
    assert parts == (["ab"], ["cd"])


def test_one_document_is_split_by_position_as_its_text_is_sliced() -> None:
    text = text_of(300, 4)
    for fraction in (0.01, 0.25, 0.5, 0.999):
        border = int(len(text) * (1 - fraction))
        for size in (7, 1000, 2**20):
            source = Component(Texts([text], size=size))
            parts = both(source, split_by="position", validation_fraction=fraction)
            assert parts == ([text[:border]], [text[border:]])


# --- budgets --------------------------------------------------------------------------------------


def words(texts: list[str]) -> int:
    return sum(len(text.split()) for text in texts)


def tokens(texts: list[str]) -> int:
    return sum(len(text) for text in texts)


MEASURES = {"documents": len, "words": words, "tokens": tokens}


@pytest.mark.parametrize("unit", MEASURES)
def test_a_budget_is_filled_with_whole_documents(unit: str) -> None:
    documents, measure = documents_of(200), MEASURES[unit]
    amount, longest = measure(documents) // 3, max(measure([text]) for text in documents)
    drawn = {}
    for seed in (0, 1):
        split = split_of(Component(Texts(documents), (unit, amount)), seed=seed)
        split.corpus.count_tokens = lambda texts: [len(text) for text in texts]
        drawn[seed] = texts_of(split)
        assert amount - longest < measure(drawn[seed]) <= amount
        assert drawn[seed] == sorted(set(drawn[seed]), key=documents.index)
        assert split.left_out() == {"beyond the budget": 200 - len(drawn[seed])}
        again = split_of(Component(Texts(documents), (unit, amount)), seed=seed)
        again.corpus.count_tokens = split.corpus.count_tokens
        assert texts_of(again) == drawn[seed]
    assert drawn[0] != drawn[1]
    if unit == "documents":
        assert len(drawn[0]) == amount


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (("documents", 4), "texts: has 3 documents, fewer than its budget of 4"),
        (("words", 7), "texts: has 6 words, fewer than its budget of 7"),
        (("words", 1), r"every document has more than the 1 words .*data\.document"),
    ],
)
def test_a_budget_that_cannot_be_met_is_refused(budget: tuple[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        texts_of(split_of(Component(Texts(["a b", "c d", "e f"]), budget)))


def test_validation_is_held_out_of_the_budget() -> None:
    source = Component(Texts(DOCUMENTS), ("documents", 40))
    train, held_out = both(source, validation_fraction=0.25)
    whole = texts_of(split_of(source))
    assert (len(train), len(held_out)) == (30, 10)
    assert sorted(train + held_out, key=DOCUMENTS.index) == whole


# --- mixtures -------------------------------------------------------------------------------------


def mixture(directory: Path, *parts: dict[str, Any], **budget: int) -> DataConfig:
    """Return the data settings of a mixture of files with one document a line."""
    mixed = []
    for number, part in enumerate(parts):
        path = directory / f"{number}.txt"
        path.write_text("".join(f"{number} word {n}\n" for n in range(50)))
        mixed.append({"source": str(path), **part})
    return DataConfig.model_validate({"train": {"mixture": mixed, **budget}, "document": "line"})


def read(data: DataConfig, seed: int = 0) -> tuple[list[str], list[str]]:
    splits = open_splits(data, seed=seed)
    return texts_of(splits.train), texts_of(splits.validation)


def test_a_mixture_repeats_training_but_not_validation_documents(tmp_path: Path) -> None:
    train, held_out = read(mixture(tmp_path, {"repeats": 3}, {}, {"documents": 20, "repeats": 2}))
    assert not set(train) & set(held_out)
    assert len(held_out) == len(set(held_out)) == round(0.05 * 120)
    times = {0: 3, 1: 1, 2: 2}
    counted = Counter(train)
    assert all(times[int(text[0])] == count for text, count in counted.items())
    assert sum(text[0] == "2" for text in {*train, *held_out}) == 20
    assert len({*train, *held_out}) == 120


def test_each_corpus_of_a_mixture_keeps_its_order(tmp_path: Path) -> None:
    train, _ = read(mixture(tmp_path, {"repeats": 2}, {}))
    for number, repeats in ((0, 2), (1, 1)):
        own = [int(text.split()[-1]) for text in train if text[0] == str(number)]
        assert own == sorted(set(own)) * repeats
    labels = [text[0] for text in train]
    assert labels != sorted(labels)  # they are interleaved


def test_a_mixture_is_drawn_by_the_seed(tmp_path: Path) -> None:
    data = mixture(tmp_path, {"documents": 20}, {})
    assert read(data, 0) == read(data, 0) != read(data, 1)


def test_weights_share_the_budget_with_repeats_counted(tmp_path: Path) -> None:
    parts = [{"weight": 3.0}, {"weight": 1.0, "repeats": 2}]
    data = mixture(tmp_path, *parts, documents=40)
    splits = open_splits(data, seed=0)
    assert [c.budget for c in splits.train.corpus.components] == [
        ("documents", 30),
        ("documents", 5),
    ]
    train, held_out = texts_of(splits.train), texts_of(splits.validation)
    once = {*train, *held_out}
    assert Counter(text[0] for text in once) == {"0": 30, "1": 5}
    data = mixture(tmp_path, {"weight": 1.0}, {"weight": 1.0}, words=60)  # three in each line
    assert Counter(text[0] for part in read(data) for text in part) == {"0": 10, "1": 10}


def test_dropped_duplicates_leave_the_repeats(tmp_path: Path) -> None:
    documents = ["same", "other", "same", "third"]
    split = split_of(
        Component(Texts(documents), repeats=3), interventions=[{"step": "drop_duplicates"}]
    )
    assert Counter(texts_of(split)) == {"same": 3, "other": 3, "third": 3}


# --- files and the language -----------------------------------------------------------------------


def test_the_settings_determine_the_splits(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} {n}\n" for n in range(20)))
    files = {name: str(tmp_path / f"{name}.txt") for name in ("train", "validation", "test")}
    given = open_splits(DataConfig(**files, document="line"), seed=0)
    assert len(texts_of(given.train)) == 20
    assert texts_of(given.validation)[0] == "validation 0"
    assert given.test is not None and texts_of(given.test)[0] == "test 0"
    alone = {"train": files["train"], "document": "line", "validation_fraction": 0.2}
    drawn = open_splits(DataConfig(**alone), seed=0)
    assert (drawn.train.count(0)[0], drawn.validation.count(0)[0], drawn.test) == (16, 4, None)
    last = open_splits(DataConfig(**alone, split_by="position"), seed=0)
    assert texts_of(last.validation)[-1] == "train 19"


def test_a_sample_of_the_language_is_the_corpus() -> None:
    data = DataConfig.model_validate({"train": {"language": {"sentences": 50, "seed": 3}}})
    splits = open_splits(data, seed=0)
    sentences = list(load_language().sample(50, seed=3))
    together = texts_of(splits.train) + texts_of(splits.validation)
    assert sorted(together) == sorted(sentences)


def test_emptied_documents_are_dropped_and_an_empty_split_is_refused() -> None:
    strip = [{"step": "replace", "pattern": "[a-m]", "by": ""}]
    assert texts_of(split_of(["abc", "xyz"], interventions=strip)) == ["xyz"]
    with pytest.raises(DataError, match=r"data\.train: no document is left"):
        split_of(["abc"], interventions=strip).count(0)


# --- the key --------------------------------------------------------------------------------------


def key(split: Split) -> Any:
    return split.cache_key(lambda path: path.name)


def test_every_change_of_a_text_changes_its_key() -> None:
    a, b = ["a", "b", "c"], ["b", "a", "c"]
    different = [
        split_of(a),
        split_of(b),
        split_of(a, b),
        split_of(a, b, seed=1),
        split_of(Component(Texts(a), ("documents", 2))),
        split_of(Component(Texts(a), ("documents", 2)), seed=1),
        split_of(Component(Texts(a), ("words", 2))),
        split_of(Component(Texts(a), repeats=2)),
        split_of(a, role="rest"),
        split_of(a, role="rest", seed=1),
        split_of(a, role="held out"),
        split_of(a, role="rest", validation_fraction=0.5),
        split_of(a, role="rest", validation_documents=2),
        split_of(a, role="rest", split_by="position"),
        split_of(a, interventions=["lowercase"]),
    ]
    assert len({repr(key(split)) for split in different}) == len(different)


def test_the_key_ignores_what_does_not_change_the_text() -> None:
    a = ["a", "b", "c"]
    assert key(split_of(a)) == key(split_of(a, seed=9, validation_fraction=0.9))
    assert key(split_of(a, role="rest", split_by="position")) == key(
        split_of(a, role="rest", split_by="position", seed=9)
    )
    assert key(split_of(a)) == key(split_of(Component(Texts(a, size=1, name="moved"))))


def test_opening_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setattr(Path, "open", None)
    open_splits(DataConfig(train=str(tmp_path / "a.txt")), seed=0)


# --- batches and processes ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 64, 2**20])
def test_a_mixture_does_not_depend_on_the_batches(size: int) -> None:
    texts = [documents_of(40, seed) for seed in range(3)]
    components = [Component(Texts(each), repeats=n) for n, each in enumerate(texts, 1)]
    expected = split_of(*components, role="rest")
    found = split_of(
        *(Component(Texts(each, size=size), repeats=n) for n, each in enumerate(texts, 1)),
        role="rest",
    )
    assert texts_of(found) == texts_of(expected)
    assert _numbers(found) == _numbers(expected)


def _numbers(split: Split) -> list[int]:
    return [n for numbers, _ in split.whole() for n in numbers.tolist()]


def test_the_blank_documents_of_a_mixture_are_all_counted() -> None:
    split = split_of(["a", " ", "b", "\n", ""], [" ", "c", "\t"])
    texts_of(split)
    assert split.left_out() == {"blank documents": 5}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_interventions_give_the_same_in_any_number_of_processes(
    processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Any] = ["drop_duplicates", "lowercase", {"step": "shuffle_words"}]
    documents = [*documents_of(60), *documents_of(30)]
    expected = texts_of(split_of(documents, interventions=steps))
    monkeypatch.setattr(process_pool, "BATCH", 300)
    assert texts_of(split_of(documents, interventions=steps), processes) == expected
    assert len(expected) == 60


def test_a_text_that_grows_between_two_readings_is_refused() -> None:
    texts = Texts(documents_of(10))
    split = split_of(Component(texts), role="rest")
    texts_of(split)
    texts.documents = documents_of(12)
    with pytest.raises(DataError, match=r"has more documents than a moment ago: .* run"):
        texts_of(split)


def test_weights_of_any_size_share_a_budget(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"a{number}\n" for number in range(50)))
    (tmp_path / "b.txt").write_text("".join(f"b{number}\n" for number in range(50)))
    for weight in (1.7e308, 5e-324, 1.0):
        parts = [{"source": str(tmp_path / f"{name}.txt"), "weight": weight} for name in "ab"]
        data = DataConfig.model_validate(
            {"train": {"mixture": parts, "words": 40}, "document": "line", "validation": "x"}
            | {"validation": str(tmp_path / "a.txt")}
        )
        assert len(texts_of(open_splits(data, seed=0).train)) == 40


def test_a_weight_that_gives_no_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\nb\nc\n")
    path = str(tmp_path / "a.txt")
    parts = [{"source": path, "weight": weight} for weight in (1.0, 1e-9)]
    data = DataConfig.model_validate(
        {"train": {"mixture": parts, "words": 2}, "document": "line", "validation": path}
    )
    with pytest.raises(DataError, match="its weight gives it less than one of the words"):
        texts_of(open_splits(data, seed=0).train)
