"""Classification of texts: learned by each family, resumed bit for bit, and its mistakes."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from model_foundry.config import ExperimentConfig
from model_foundry.doctor.same_run import differences
from model_foundry.errors import ConfigError, DataError
from model_foundry.experiment.train import train
from model_foundry.model import load_model
from model_foundry.objectives.preparation import inspect, prepare
from model_foundry.training.metrics_log import read_metrics
from tests.children import KILLED, Fault, launched, train_in_child, train_with
from tests.experiments import tiny_experiment

NUMBERS = (1, 2, 3, 4, 8, 9, 10, 11)
SECTION = "training.sequence_classification"
ROWS = [(" ".join("a" * n + "b" * (12 - n)), "many" if n > 6 else "few") for n in NUMBERS]


def write(here: Path, rows: Any = ROWS * 4, name: str = "texts.jsonl", **more: Any) -> Path:
    """Write a table with the columns `text` and `label`, and others of the same value."""
    lines = [json.dumps({"text": text, "label": label, **more}) for text, label in rows]
    (here / name).write_text("\n".join(lines) + "\n")
    return here / name


def overrides(table: Path, *more: str) -> tuple[str, ...]:
    return (
        f"data.train={table}",
        f"data.validation={table}",
        "data.max_sequence_length=32",
        "tokenizer.vocab_size=263",
        "training.objective=sequence_classification",
        "training.metrics=[accuracy, macro_f1, matthews, loss]",
        "training.max_steps=30",
        "training.eval_steps=10",
        *more,
    )


def experiment(kind: str, here: Path, *more: str) -> ExperimentConfig:
    table = here / "texts.jsonl"
    return tiny_experiment(kind, here, *overrides(table if table.exists() else write(here), *more))


NATIVE = ("transformer_decoder", "transformer_encoder")


@pytest.mark.parametrize("kind", ["gpt2", "bert", "lstm", *NATIVE])
def test_a_task_of_texts_is_learned_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    result = train(experiment(kind, tmp_path))
    for name in ("accuracy", "macro_f1", "matthews"):
        assert result.metrics[f"eval/{name}"] == 1.0
    model = load_model(directory := tmp_path / "run" / "model")
    tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=True)
    theirs = AutoModelForSequenceClassification.from_pretrained(directory, trust_remote_code=True)
    batch = tokenizer([ROWS[0][0], ROWS[-1][0][:9]], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = theirs.eval()(**batch).logits
        assert torch.equal(model(**batch).logits, logits)
    assert [theirs.config.id2label[n] for n in logits.argmax(-1).tolist()] == ["few", "many"]


def test_other_tools_read_a_text_as_the_training_did(tmp_path: Path) -> None:
    prepared = prepare(experiment("bert", tmp_path))
    ids = prepared.train.read([(0, 0)]).columns["input_ids"][0]
    assert prepared.tokenizer(prepared.tokenizer.decode(ids[1:-1])).input_ids == ids.tolist()
    assert ids[0] in (prepared.tokenizer.cls_token_id, prepared.tokenizer.bos_token_id)


def test_a_special_token_in_a_text_is_text(tmp_path: Path) -> None:
    write(tmp_path, [*ROWS, ("a </s> b", "few")])
    columns = prepare(experiment("lstm", tmp_path)).train.read([(0, 8)]).columns
    tokenizer = prepare(experiment("lstm", tmp_path)).tokenizer
    assert columns["input_ids"][0].tolist().count(tokenizer.eos_token_id) == 1


def test_a_pair_is_two_texts_in_one_row(tmp_path: Path) -> None:
    write(tmp_path, more="b b")
    columns = prepare(experiment("bert", tmp_path, f"{SECTION}.text_pair=more")).train
    alone = prepare(experiment("bert", tmp_path)).train
    assert columns.totals["tokens"] > alone.totals["tokens"] + 2 * len(alone)


def test_several_labels_are_learned(tmp_path: Path) -> None:
    rows = [(text, ["long", label]) for text, label in ROWS] + [("a b", []), ("b a", [])]
    write(tmp_path, rows * 4)
    settings = (f"{SECTION}.multi_label=true", f"{SECTION}.class_weights=balanced")
    config = experiment(
        "lstm", tmp_path, *settings, "training.metrics=[]", "training.max_steps=100"
    )
    result = train(config)
    assert result.metrics["eval/macro_f1"] == 1.0
    assert "eval/accuracy" not in result.metrics


def test_labels_with_commas_are_those_of_lists(tmp_path: Path) -> None:
    sets = [["1", "2"], ["2"], []]
    targets, several = [], (f"{SECTION}.multi_label=true", "training.metrics=[]")
    for labels in ([", ".join(each) for each in sets], sets, [list(map(int, row)) for row in sets]):
        write(tmp_path, [("a b", label) for label in labels])
        prepared = prepare(experiment("lstm", tmp_path, *several))
        targets.append(prepared.train.read([(0, n) for n in range(3)]).columns["labels"])
    assert [each.tolist() for each in targets] == [[[1, 1], [0, 1], [0, 0]]] * 3


def test_long_texts_are_cut_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, [*ROWS, ("a b " * 40, "many"), ("b a " * 50, "many")])
    with caplog.at_level(logging.WARNING):
        prepared = prepare(experiment("gpt2", tmp_path))
    assert max(prepared.train.read([(0, n) for n in range(10)]).columns["input_ids"].lengths) == 32
    cut = [record.message for record in caplog.records if "are cut" in record.message]
    assert cut == [
        "4 of 20 texts are cut to data.max_sequence_length (=32) tokens; raise it to read them "
        "whole"
    ]


def test_a_tokenizer_may_be_another_runs(tmp_path: Path) -> None:
    first = prepare(experiment("lstm", tmp_path))
    first.processors["tokenizer"].save(tmp_path / "saved-tokenizer")
    second = prepare(
        experiment("lstm", tmp_path, f"tokenizer={{path: {tmp_path}/saved-tokenizer}}")
    )
    assert second.tokenizer.get_vocab() == first.tokenizer.get_vocab()
    assert second.train.content_sha256 == first.train.content_sha256


@pytest.mark.parametrize(
    ("settings", "error", "law"),
    [
        ([f"{SECTION}.pooling=sum"], ConfigError, "pooling"),
        ([f"{SECTION}.pooling=cls"], ConfigError, "pooling: 'cls' is the first token"),
        ([f"{SECTION}.class_weights={{fwe: 2.0}}"], ConfigError, "did you mean 'few'?"),
        (["data.max_sequence_length=2"], ConfigError, "(=2) leaves no room beside the 2 framing"),
        (
            ["data.max_sequence_length=5", f"{SECTION}.text_pair=more"],
            *(ConfigError, "(=5) leaves no room for both texts of a pair beside their 4 framing"),
        ),
        ([f"{SECTION}.text=txet"], DataError, "did you mean 'text'?"),
    ],
)
def test_a_mistake_is_one_line(
    settings: list[str], error: type[Exception], law: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        inspect(experiment("gpt2", tmp_path, *settings))
    assert law in str(caught.value) and "\n" not in str(caught.value).strip()


def test_one_label_is_refused_unless_there_may_be_several(tmp_path: Path) -> None:
    write(tmp_path, [("a b", "few"), ("b a", "few")])
    with pytest.raises(DataError, match=r"one label only \('few'\)"):
        inspect(experiment("lstm", tmp_path))
    write(tmp_path, [("a b", ["few"]), ("b a", [])])
    several = (f"{SECTION}.multi_label=true", "training.metrics=[macro_f1]")
    result = train(experiment("lstm", tmp_path, *several, "training.max_steps=2"))
    assert "eval/macro_f1" in result.metrics


def test_a_label_that_training_lacks_is_told_with_its_line(tmp_path: Path) -> None:
    other = write(tmp_path, [*ROWS, ("a", "most")], "other.jsonl")
    with pytest.raises(DataError, match=r"other.jsonl: line 9: 'label' is 'most', a label that"):
        prepare(experiment("gpt2", tmp_path, f"data.validation={other}"))


def test_accuracy_of_several_labels_is_refused(tmp_path: Path) -> None:
    write(tmp_path, [(text, [label]) for text, label in ROWS])
    settings = (f"{SECTION}.multi_label=true", "training.metrics=[accuracy]")
    with pytest.raises(ConfigError, match=r"training.metrics: 'accuracy' is for examples with one"):
        train(experiment("lstm", tmp_path, *settings))


def test_too_few_positions_are_told(tmp_path: Path) -> None:
    positions = "model.transformer.max_position_embeddings=8"
    with pytest.raises(ConfigError, match=r"max_sequence_length \(=32\) exceeds the 8 positions"):
        train(experiment("bert", tmp_path, positions))


HARD = (
    *("training.max_steps=9", "training.save_steps=3", "training.eval_steps=2"),
    *(f"{SECTION}.class_weights=balanced", f"{SECTION}.label_smoothing=0.1"),
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "bert", "lstm", "transformer_encoder"])
def test_resumed_equals_uninterrupted(kind: str, tmp_path: Path) -> None:
    settings = overrides(write(tmp_path, [*ROWS * 4, ("a a", "few")]), *HARD)
    train_in_child(kind, tmp_path / "whole", *settings, code=0)
    fault = Fault("step 5 made")
    train_in_child(kind, tmp_path / "cut", *settings, fault=fault, code=KILLED)
    train_in_child(kind, tmp_path / "cut", *settings, code=0)
    assert differences(tmp_path / "whole" / "run", tmp_path / "cut" / "run") == []


@pytest.mark.slow
def test_two_processes_measure_as_one(tmp_path: Path) -> None:
    # each process draws its own dropout, and AdamW would enlarge differences of the last bit
    exact = (
        *(f"{SECTION}.dropout=0", "model.rnn.dropout=0"),
        *("training.optimizer=sgd", "training.learning_rate=0.5"),
        "training.gradient_accumulation_steps=2",
    )
    settings = overrides(write(tmp_path, [*ROWS * 4, ("a a", "few")]), *HARD, *exact)
    train_in_child("lstm", tmp_path / "one", *settings, code=0)
    run = (train_with, "lstm", tmp_path / "two", settings, None, {})
    assert [ended.code for ended in launched(run, run)] == [0, 0]
    one, two = (
        list(read_metrics(tmp_path / name / "run" / "metrics.jsonl")) for name in ("one", "two")
    )
    evaluated = [name for name in one[-1] if name.startswith("eval/") and "per_second" not in name]
    assert {"eval/macro_f1", "eval/matthews", "eval/loss"} <= set(evaluated)
    for name in evaluated:
        assert two[-1][name] == pytest.approx(one[-1][name], abs=1e-4), name
