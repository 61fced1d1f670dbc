"""Documents of an experiment: how they are split, and what is said of sources without any."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import DataConfig, HubSource
from model_foundry.data.sources.old import (
    content_hash,
    describe,
    read_documents,
    read_splits,
    split_by_document,
    split_by_position,
)
from model_foundry.errors import DataError
from model_foundry.language import load_language


def test_documents_of_white_space_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n \t\ntwo\n")
    data = DataConfig(train=str(tmp_path / "a.txt"), document="line")
    assert read_documents(data.train, data) == ["one", "two"]


@pytest.mark.parametrize("text", ["", " \n\t\n", "\ufeff"])
def test_a_corpus_without_text_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "empty.txt").write_text(text, encoding="utf-8")
    data = DataConfig(train=str(tmp_path / "empty.txt"))
    with pytest.raises(DataError, match=r"empty\.txt: holds no text"):
        read_documents(data.train, data)


def test_a_source_is_called_what_the_user_wrote() -> None:
    assert describe("a.txt") == "a.txt"
    assert describe(["a.txt", "b.txt"]) == "a.txt, b.txt"
    assert describe(HubSource(hub="owner/name")) == "owner/name"


# --- splits ---------------------------------------------------------------------------------------

DOCUMENTS = [f"document {number}" for number in range(100)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_document_is_in_one_part_in_the_order_of_the_corpus(seed: int) -> None:
    train, held_out = split_by_document(DOCUMENTS, 0.1, seed=seed)
    assert len(held_out) == 10
    assert sorted(train + held_out, key=DOCUMENTS.index) == DOCUMENTS
    assert [*train] == sorted(train, key=DOCUMENTS.index)
    assert [*held_out] == sorted(held_out, key=DOCUMENTS.index)


def test_the_seed_draws_the_documents() -> None:
    drawn = [split_by_document(DOCUMENTS, 0.1, seed=seed)[1] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    # Written down once: another draw would make every run of an older version another experiment.
    assert [text.rpartition(" ")[2] for text in drawn[0]] == [
        "3",
        "4",
        "9",
        "27",
        "29",
        "43",
        "45",
        "74",
        "79",
        "84",
    ]


def test_both_parts_of_a_small_corpus_hold_a_document() -> None:
    for fraction in (0.001, 0.999):
        train, held_out = split_by_document(["a", "b"], fraction, seed=0)
        assert len(train) == len(held_out) == 1
    with pytest.raises(DataError, match=r"single document.* set data\.split_by=position"):
        split_by_document(["a"], 0.5, seed=0)


def test_the_last_part_of_the_text_is_held_out() -> None:
    assert split_by_position(["abcd", "efgh", "ij"], 0.3) == (["abcd", "efg"], ["h", "ij"])
    assert split_by_position(["abcdefghij"], 0.1) == (["abcdefghi"], ["j"])
    assert split_by_position(["abcde", "fghij"], 0.5) == (["abcde"], ["fghij"])
    with pytest.raises(DataError, match=r"validation_fraction \(=0\.1\) of 1 characters leaves an"):
        split_by_position(["a"], 0.1)


def test_the_splits_are_what_the_settings_say(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} {n}\n" for n in range(20)))
    files = {name: str(tmp_path / f"{name}.txt") for name in ("train", "validation", "test")}
    given = read_splits(DataConfig(**files, document="line"), seed=0)
    assert (len(given.train), len(given.validation), given.validation[0]) == (
        20,
        20,
        "validation 0",
    )
    assert given.test is not None and given.test[0] == "test 0"
    alone = {"train": files["train"], "document": "line", "validation_fraction": 0.2}
    drawn = read_splits(DataConfig(**alone), seed=0)
    assert (len(drawn.train), len(drawn.validation), drawn.test) == (16, 4, None)
    last = read_splits(DataConfig(**alone, split_by="position"), seed=0)
    assert last.validation[-1] == "train 19"


def test_a_sample_of_the_language_is_the_corpus() -> None:
    data = DataConfig.model_validate({"train": {"language": {"sentences": 5, "seed": 3}}})
    assert read_documents(data.train, data) == list(load_language().sample(5, seed=3))


def test_the_content_hash_sees_every_byte_and_every_border() -> None:
    corpora = [["ab"], ["a", "b"], ["ab", ""], ["ba"], [], ["ä"], ["a\u0308"], ["\ud800"]]
    assert len({content_hash(corpus) for corpus in corpora}) == len(corpora)
    by_hand = hashlib.sha256((2).to_bytes(8, "little") + b"ab").hexdigest()
    assert content_hash(["ab"]) == by_hand


# --- data sets ------------------------------------------------------------------------------------


def data_set(directory: Path, content: bytes, suffix: str = "jsonl") -> dict[str, Any]:
    """Lay out a local data set with one split and return its source."""
    directory.mkdir(exist_ok=True)
    (directory / f"train.{suffix}").write_bytes(content)
    return {"hub": str(directory)}


ROWS = b'{"text": "one\\ntwo", "body": "B"}\n{"text": " ", "body": "C"}\n{"text": "three"}\n'


def test_each_row_of_a_data_set_is_a_document(tmp_path: Path) -> None:
    data = DataConfig(train=data_set(tmp_path / "rows", ROWS))
    assert read_documents(data.train, data) == ["one\ntwo", "three"]


@pytest.mark.parametrize(
    ("content", "suffix", "changes", "message"),
    [
        (ROWS, "jsonl", {"text_column": "txt"}, "no column data.text_column='txt', but text, body"),
        (ROWS, "jsonl", {"text_column": "body"}, "row 2 of 'body' is None, not text"),
        (b'{"text": 1}\n', "jsonl", {}, "row 0 of 'text' is 1, not text"),
        (b'{"text": ["a"]}\n', "jsonl", {}, r"row 0 of 'text' is \['a'\], not text"),
        (b'{"text": "a"}\n{"text": \n', "jsonl", {}, "cannot be loaded as a data set .*JSON"),
        (b"PAR1 and no more", "parquet", {}, "cannot be loaded as a data set .*Parquet"),
    ],
)
def test_a_data_set_that_cannot_be_read_is_told_why(
    tmp_path: Path, content: bytes, suffix: str, changes: dict[str, Any], message: str
) -> None:
    data = DataConfig(train=data_set(tmp_path / "rows", content, suffix), **changes)
    with pytest.raises(DataError, match=message) as caught:
        read_documents(data.train, data)
    assert str(caught.value).startswith(str(tmp_path / "rows"))
    assert "\n" not in str(caught.value)


def test_a_data_set_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    source = data_set(tmp_path / "rows", ROWS)
    for wrong in (
        {"hub": str(tmp_path / "empty")},
        {"hub": "no-such-owner/no-such-name"},
        source | {"split": "nine"},
        source | {"name": "other"},
    ):
        data = DataConfig(train=wrong)
        with pytest.raises(DataError, match="cannot be loaded as a data set"):
            read_documents(data.train, data)
