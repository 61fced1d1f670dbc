"""Tasks that read records: the examples that `encode` makes, and how they are collated."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_foundry.data.batches.arrays import ArrayExamples
from model_foundry.data.batches.examples import Ragged
from model_foundry.data.sources.records import MOST_ROWS
from model_foundry.errors import ConfigError, DataError
from model_foundry.objectives import Prepared, RecordObjective, register_objective
from model_foundry.objectives.preparation import prepare
from tests.task_runs import task, tasks_loaded, write_data


class Lengths(RecordObjective):
    """The letters of each word of a text, and the number of words; rows may lack a text."""

    columns = ("text",)

    def encode(self, records: Any, processors: Any) -> Any:
        texts = records.complete("text").texts("text")
        letters = [np.array([len(word) for word in text.split()]) for text in texts]
        return {"letters": Ragged.of(letters), "labels": np.array([len(row) for row in letters])}

    def model_arguments(self, processors: Any) -> Any:
        return {}


@pytest.fixture(autouse=True)
def registered(tmp_path: Path) -> Iterator[None]:
    write_data(tmp_path)
    with tasks_loaded():
        for name, cls in {"lengths": Lengths, "noisy": Noisy, "faulty": Faulty}.items():
            register_objective(name, model_kind="array_classifier")(cls)
        yield


def write(path: Path, texts: Sequence[str | None]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def prepared(
    folder: Path, train: Sequence[str | None], name: str = "lengths", *overrides: str
) -> Prepared:
    data = {"train": write(folder / "train.jsonl", train)}
    data["validation"] = write(folder / "other.jsonl", ["one more"])
    given = [f"data={json.dumps(data)}", f"training={{objective: {name}, max_steps: 2}}"]
    return prepare(task("arrays", folder / "run", *given, *overrides))


def test_records_that_are_left_out_may_be_all_of_those_read_at_once(tmp_path: Path) -> None:
    texts = [f"text {n:b}" for n in range(MOST_ROWS + 5)]
    train = prepared(tmp_path, [*texts, *[None] * 3 * MOST_ROWS, *texts]).train
    assert isinstance(train, ArrayExamples)
    letters = train.columns["letters"]
    assert isinstance(letters, Ragged) and letters.values.dtype == np.int64
    expected = [[4, len(text) - 5] for text in texts] * 2
    assert [row.tolist() for row in letters.rows()] == expected
    assert train.columns["labels"].tolist() == [2] * len(expected)  # type: ignore[union-attr]


def test_a_task_that_leaves_out_all_records_is_told_their_number(tmp_path: Path) -> None:
    law = r"^data\.train: Lengths\.encode leaves out each of the 700 records; give other data, or "
    with pytest.raises(DataError, match=law):
        prepared(tmp_path, [None] * 700)


def test_columns_that_are_dense_for_some_records_only_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Lengths.encode

    def mixed(self: Any, records: Any, processors: Any) -> Any:
        columns = encode(self, records, processors)
        rows = columns["letters"].rows()
        equal = len({len(row) for row in rows}) == 1
        return columns | {"letters": np.stack(rows) if equal else columns["letters"]}

    monkeypatch.setattr(Lengths, "encode", mixed)
    law = r"\.py:\d+: Lengths\.encode: column 'letters' is ragged in some examples and dense in"
    with pytest.raises(ConfigError, match=law):
        prepared(tmp_path, [*["two words"] * MOST_ROWS, "two words", "word"])


def test_records_that_are_left_out_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = prepared(tmp_path, ["two words"] * 3 + [None] * 2 + ["word"])
    assert found.train.describe() == "4 examples, 2 records left out by Lengths.encode"
    assert found.validation.describe() == "1 example"
    summary = found.objective.summary(found)
    assert summary["train"]["records_left_out"] == 2
    assert summary["validation"].keys() == {"examples", "sha256"}


def test_a_value_that_is_not_finite_is_told_with_its_record_when_others_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Lengths.encode

    def weighed(self: Any, records: Any, processors: Any) -> Any:
        texts = records.complete("text").columns["text"]
        weights = np.array([np.inf if "heavy" in text else 1 for text in texts])
        return encode(self, records, processors) | {"weights": weights}

    monkeypatch.setattr(Lengths, "encode", weighed)
    law = (
        r"train\.jsonl: line 5: Lengths\.encode gives 'weights' the value inf, not a finite number"
    )
    with pytest.raises(DataError, match=law):
        prepared(tmp_path, ["one", None, None, "two", "a heavy one", "four", "heavy"])


RAGGED = {  # attribute: value, message
    "mask of a column": ("masks", {"letters": "labels"}, "the mask 'labels' has the name of a col"),
    "mask of dense": ("masks", {"labels": "seen"}, "names 'labels', which encode gives as a dense"),
    "mask of none": ("masks", {"leters": "m"}, "'leters', which is no column of encode; did you "),
    "unit": (
        "units",
        {"words": "lettres"},
        "'lettres', which is no column of encode; did you mean",
    ),
    "unit of dense": ("units", {"words": "labels"}, "names 'labels', which encode gives as a den"),
    "filler": (
        "fillers",
        {"zzz": 1},
        "names 'zzz', which is no column of encode; it gives letters,",
    ),
}


@pytest.mark.parametrize(("attribute", "value", "message"), RAGGED.values(), ids=RAGGED)
def test_a_name_of_no_ragged_column_is_told_with_the_class(
    attribute: str, value: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lengths, attribute, value)
    law = rf"^plugin \S+test_records\.py:\d+: Lengths\.{attribute}: [^:]*{message}"
    with pytest.raises(ConfigError, match=law):
        prepared(tmp_path, TEXTS)


def test_two_masks_have_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = Lengths.encode

    def doubled(self: Any, records: Any, processors: Any) -> Any:
        columns = encode(self, records, processors)
        return columns | {"more": columns["letters"]}

    monkeypatch.setattr(Lengths, "encode", doubled)
    monkeypatch.setattr(Lengths, "masks", {"letters": "seen", "more": "seen"})
    law = r"^plugin \S+ Lengths\.masks: the mask 'seen' has the name of another mask"
    with pytest.raises(ConfigError, match=law):
        prepared(tmp_path, TEXTS)


class Noisy(Lengths):
    """The same with noise in training; evaluations hold the seed instead."""

    def collate(self, processors: Any, *, seed: int, evaluating: bool) -> Any:
        pad = super().collate(processors, seed=seed, evaluating=evaluating)

        def changed(examples: Any) -> Any:
            if evaluating:
                return pad(examples) | {"seed": torch.full((len(examples),), seed)}
            draws = [np.random.default_rng([seed, *key]).random() for key in examples.keys]
            return pad(examples) | {"noise": torch.tensor(draws)}

        return changed


class Faulty(Lengths):
    """A task whose function for evaluations returns nothing."""

    def collate(self, processors: Any, *, seed: int, evaluating: bool) -> Any:
        pad = super().collate(processors, seed=seed, evaluating=evaluating)
        return (lambda _: None) if evaluating else pad


TEXTS = [f"text {n:b}" for n in range(20)]


def test_training_and_evaluations_may_collate_in_two_ways(tmp_path: Path) -> None:
    found = prepared(tmp_path, TEXTS, "noisy", "seed={data: 3, split: 4}")
    trained, measured = found.collate, found.evaluating
    keys = [(0, 1), (1, 1)]
    noise = [trained(found.train.read(keys))["noise"].tolist() for _ in range(2)]
    assert noise[0] == noise[1] and len(set(noise[0])) == 2
    assert noise[0][0] == np.float32(np.random.default_rng([3, 0, 1]).random())
    batch = measured(found.validation.read([(0, 0)]))
    assert batch["seed"].tolist() == [4] and "noise" not in batch
    plain = prepared(tmp_path, TEXTS)
    examples = plain.train.read(keys)
    batches = [each(examples) for each in (plain.collate, plain.evaluating, trained)]
    for name in ("letters", "labels"):  # the default is the same for both
        assert len({str(batch[name]) for batch in batches}) == 1


def test_a_fault_in_the_function_for_evaluations_is_told_before_training(tmp_path: Path) -> None:
    law = r"Faulty\.collate: its function must return a dict of tensors, got None"
    with pytest.raises(ConfigError, match=law):
        prepared(tmp_path, TEXTS, "faulty")
