"""The limits of `debug`: what is read, of which tasks, and where it is told."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from model_foundry.config import ExperimentConfig, validate
from model_foundry.data.batches import loaders
from model_foundry.data.batches.loaders import Batch
from model_foundry.doctor.same_run import differences
from model_foundry.evaluation.synthetic_language import PAIRS
from model_foundry.experiment.limits import (
    evaluated_examples,
    limited_splits,
    minimal_pairs_of,
    trained_examples,
)
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.experiment.train import train
from model_foundry.foundation.failpoints import watching
from model_foundry.objectives.preparation import prepare
from tests.experiments import tiny_experiment

ROWS = 4  # of a step of the tiny experiments
LIMITED = ("debug.limit_train=3", "debug.limit_validation=2", "debug.limit_test=1")


def labelled(directory: Path, **debug: Any) -> ExperimentConfig:
    """Return a classification of texts whose labels are sorted."""
    rows = [{"text": f"the {word}", "label": word} for word in ("bad", "good") for _ in range(60)]
    table = directory / "rows.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    raw = {
        "experiment_name": "labels",
        "output_dir": directory / "run",
        "data": {"train": str(table), "validation": str(table), "test": str(table)},
        "tokenizer": {"tokenizer_type": "word"},
        "model": {
            "architecture": "lstm",
            "rnn": {"embedding_size": 8, "hidden_size": 8, "bidirectional": True},
        },
        "training": {
            "objective": "sequence_classification",
            "epochs": 2,
            "per_device_train_batch_size": ROWS,
        },
        "debug": debug,
    }
    return validate(raw, "labels")


def batches_read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, list[int]]]:
    """Return a list that receives (evaluating, numbers of the examples) of each batch."""
    found: list[tuple[bool, list[int]]] = []
    read = loaders._Batches.__getitem__

    def noting(self: Any, keys: Any) -> Batch:
        batch = read(self, keys)
        found.append((self.evaluating, [index for _, index in batch.keys]))
        return batch

    monkeypatch.setattr(loaders._Batches, "__getitem__", noting)
    return found


def test_a_number_is_of_batches_and_a_share_of_examples(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path, *LIMITED, "training.per_device_eval_batch_size=2")
    prepared = prepare(config)
    assert len(trained_examples(config, prepared)) == 3 * ROWS
    assert len(evaluated_examples(config, prepared, "validation")) == 4
    assert minimal_pairs_of(config) == 2
    config = tiny_experiment("gpt2", tmp_path, "debug.limit_train=0.25", "debug.limit_test=0.25")
    assert len(trained_examples(config, prepared)) == round(len(prepared.train) / 4)
    assert evaluated_examples(config, prepared, "validation") is prepared.validation
    assert minimal_pairs_of(config) == PAIRS // 4


def test_a_share_leaves_a_whole_step_and_one_example(tmp_path: Path) -> None:
    config = tiny_experiment(
        "gpt2", tmp_path, "debug.limit_train=1e-9", "debug.limit_validation=1e-9"
    )
    prepared = prepare(config)
    assert len(trained_examples(config, prepared)) == ROWS
    assert len(evaluated_examples(config, prepared, "validation")) == 1


def test_more_than_there_is_is_all(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path, "debug.limit_train=999999")
    prepared = prepare(config)
    assert trained_examples(config, prepared) is prepared.train
    assert limited_splits(config, prepared) == {}


def test_a_sorted_table_keeps_both_labels(tmp_path: Path) -> None:
    config = labelled(tmp_path, limit_train=4, limit_validation=0.1)
    prepared = prepare(config)
    for some in (trained_examples(config, prepared), evaluated_examples(config, prepared, "test")):
        labels = some.read([(0, index) for index in range(len(some))]).columns["labels"]
        assert set(labels.tolist()) == {0, 1}


def test_streams_keep_their_order(tmp_path: Path) -> None:
    settings = ("data.packing=streams", "training.carry_state=true", "debug.limit_train=2")
    config = tiny_experiment("lstm", tmp_path, *settings, "debug.limit_validation=1")
    some = trained_examples(config, prepare(config))
    assert [key for _, key in some.read([(0, i) for i in range(len(some))]).keys] == [*range(8)]
    assert train(config).step == 6


@pytest.mark.parametrize("kind", ["gpt2", "bert", "lstm"])
def test_a_run_reads_no_more(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = batches_read(monkeypatch)
    settings = ("training.max_steps=null", "training.epochs=2", "training.warmup_steps=0")
    config = tiny_experiment(kind, tmp_path, *settings, *LIMITED)
    result = train(config)
    assert result.step == 2 * 3
    trained = [numbers for evaluating, numbers in found if not evaluating][-6:]
    assert all(len(numbers) == ROWS for numbers in trained)
    first, second = (sorted(chain(*trained[at : at + 3])) for at in (0, 3))
    assert first == second and len(set(first)) == 3 * ROWS
    evaluated = [numbers for evaluating, numbers in found if evaluating][-2:]  # checks precede
    assert list(map(len, evaluated)) == [ROWS, ROWS]
    assert not [numbers for evaluating, numbers in found[-3:-2] if evaluating]


def test_what_was_left_out_is_told(tmp_path: Path) -> None:
    config = labelled(tmp_path, limit_train=2, limit_validation=3, limit_test=0.1)
    result = train(config)
    assert result.step == 2 * 2
    assert result.limited == {
        "train": "8 of 120 examples",
        "eval": "12 of 120 examples",
        "test": "12 of 120 examples",
    }
    run = RunDirectory(config.output_dir)
    measured = run.measurement("loss-step-00000004")
    assert measured is not None
    assert measured["eval/limited"] == measured["test/limited"] == "12 of 120 examples"
    assert (run.measurement("data") or {})["limited"] == result.limited
    again = train(config)  # which reads the figures of the complete run
    assert again.limited == result.limited
    assert again.metrics == pytest.approx(result.metrics)


def test_a_limited_run_resumes_as_if_nothing_had_happened(tmp_path: Path) -> None:
    settings = ("training.save_steps=2", *LIMITED, "debug.fixed_draws=true")
    whole, parts = (tiny_experiment("bert", tmp_path / name, *settings) for name in "ab")
    train(whole)

    def stop(point: str) -> None:
        if point == "step 5 made":
            raise ZeroDivisionError

    with watching(stop), pytest.raises(ZeroDivisionError):
        train(parts)
    assert train(parts).step == 6
    assert differences(whole.output_dir, parts.output_dir) == []


def masks(config: ExperimentConfig) -> Iterator[list[list[int]]]:
    """Yield the labels of the examples of each pass, in the order of their numbers."""
    prepared = prepare(config)
    some = trained_examples(config, prepared)
    for turn in range(2):
        batch = prepared.collate(some.read([(turn, place) for place in range(len(some))]))
        yield batch["labels"].tolist()


@pytest.mark.parametrize("fixed", [True, False])
def test_masks_may_be_the_same_in_each_pass(fixed: bool, tmp_path: Path) -> None:
    settings = ("debug.limit_train=2", f"debug.fixed_draws={str(fixed).lower()}")
    first, second = masks(tiny_experiment("bert", tmp_path, *settings))
    assert (first == second) is fixed
