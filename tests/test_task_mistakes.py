"""Mistakes in experiments on tasks of a plugin: one line, its exit code, nothing written."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry.config import OBJECTIVES
from model_foundry.objectives import (
    ForwardPass,
    Loss,
    Metric,
    register_loss,
    register_metric,
    register_objective,
)
from tests.task_runs import foundry, tasks_loaded, write_data, write_task

FILES = {
    "short.csv": "x,y,kind\n1,2,cat\n3,4\n5,6,dog\n",
    "number.csv": "x,y,kind\n1,2,cat\n3,four,dog\n5,6,cat\n",
    "nan.csv": "x,y,kind\n1,2,cat\nnan,4,dog\n5,6,cat\n",
    "empty.csv": "x,y,kind\n1,2,cat\n3,,dog\n5,6,cat\n",
    "infinite.csv": "x,y,kind\n1,2,cat\n3,-inf,dog\n5,6,cat\n",
    "beyond.csv": "x,y,kind\n1,2,cat\n3,1e400,dog\n5,6,cat\n",
    "large.csv": "x,y,kind\n1,2,cat\n3,4,dog\n5,-1e39,cat\n",  # in float64 only
    "lynx.csv": "x,y,kind\n1,2,lynx\n",
    "header.csv": "x,y,kind\n",
    "one.csv": "x,y,kind\n1,2,cat\n",
    "two.csv": "x,y,kind\n1,2,cat\n3,4,dog\n",
    "cats.csv": "x,y,kind\n1,2,cat\n3,4,cat\n5,6,cat\n",
    "source.tsv": "source\ttarget\na b\ta b\n \ta\nc\tc\n",
    "target.tsv": "source\ttarget\na b\ta b\na\t\nc\tc\n",
    "symbol.tsv": "source\ttarget\na z\ta b\n",
}
GPT2 = "{architecture: gpt2, transformer: {layers: 1, hidden_size: 8, attention_heads: 1}}"
MISTAKES = [  # kind, overrides, exit code, message
    ("pairs", ["data.train=source.tsv"], 3, "source.tsv: line 3: 'source' is blank; write a text"),
    ("pairs", ["data.train=target.tsv"], 3, "target.tsv: line 3: 'target' is blank; write a text"),
    ("pairs", ["data.validation=symbol.tsv"], 3, "symbol.tsv: line 2: 'source' has the symbol 'z'"),
    ("arrays", ["data.train=short.csv"], 3, "short.csv: line 3: has 2 fields, not 3"),
    ("arrays", ["data.train=number.csv"], 3, "number.csv: line 3: 'y' is 'four', not a finite"),
    ("arrays", ["data.train=nan.csv"], 3, "nan.csv: line 3: 'x' is 'nan', not a finite number; c"),
    ("arrays", ["data.train=empty.csv"], 3, "empty.csv: line 3: 'y' is '', not a finite number; c"),
    ("arrays", ["data.train=infinite.csv"], 3, "infinite.csv: line 3: 'y' is '-inf', not a finite"),
    ("arrays", ["data.validation=beyond.csv"], 3, "beyond.csv: line 3: 'y' is '1e400', not a fini"),
    (
        *("arrays", ["data.validation=large.csv"], 3),
        "large.csv: line 4: ClassifyArrays.encode gives 'features' the value -inf, not a finite n",
    ),
    ("arrays", ["data.validation=lynx.csv"], 3, "lynx.csv: line 2: 'kind' is 'lynx', a label that"),
    ("arrays", ["data.validation=header.csv"], 3, "header.csv: holds no records"),
    ("arrays", ["data.train=one.csv"], 3, "one.csv: is a single record, so none can be held out"),
    (
        "arrays",
        ["training.classify_arrays.label=knd"],
        3,
        "no column training.classify_arrays.label='knd'.*did you mean 'kind'",
    ),
    ("arrays", ["training.classify_arrays.lable=kind"], 2, "lable: .*did you mean 'label'"),
    ("arrays", ["training.metrics=[acuracy]"], 2, "training.metrics: .*did you mean 'accuracy'"),
    ("arrays", ["training.losses={modle: 1}"], 2, "training.losses: .*did you mean 'model'"),
    (
        *("arrays", ["training.metric_for_best_model=perplexity"], 2),
        r"must be one of the metrics that are measured \(accuracy, loss\), got 'perplexity'",
    ),
    ("arrays", ["training.metrics=[bits_per_byte]"], 2, "'bits_per_byte' needs a token stream"),
    (
        "arrays",
        [f"model={GPT2}"],
        2,
        "'gpt2' is of kind 'language'; architectures of that kind: perceptron",
    ),
    ("arrays", ["model={architecture: perceptron}"], 2, "requires 'perceptron' configuration; add"),
    (
        "pairs",
        ["model={architecture: perceptron}"],
        2,
        "'perceptron' is of kind 'array_classifier'",
    ),
    ("arrays", ["model={architecture: gpt2}"], 2, "of that kind: perceptron"),
    (
        *("arrays", ["training.metrics=[acuracy]", "training.metric_for_best_model=loss"], 2),
        "training.metrics: Unknown metric: 'acuracy'; did you mean 'accuracy'[?] Available: ",
    ),
    (
        *("arrays", ["training.classify_arrays.features=[x, z]"], 3),
        "no column training.classify_arrays.features='z', but x, y, kind; set",
    ),
    (
        *("arrays", ["training.milestones={words: 10}"], 2),
        "milestones.words: 'classify_arrays' counts no words, only examples; give",
    ),
    (
        *("arrays", ["training.carry_state=true"], 2),
        "training.carry_state: needs a token stream that continues, which 'classify_arrays' does",
    ),
    ("arrays", ["training.gradient_checkpointing=true"], 2, "not supported by 'perceptron'; leave"),
]


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with good and bad data; the plugin is loaded."""
    directory = tmp_path_factory.mktemp("mistakes")
    write_data(directory)
    for name, text in FILES.items():
        (directory / name).write_text(text)
    with tasks_loaded():
        yield directory


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own below the data, the current one being that of the data."""
    monkeypatch.chdir(place)
    directory = place / f"run-{len(list(place.iterdir()))}"
    directory.mkdir()
    return directory


def errors_of(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize(("kind", "overrides", "code", "message"), MISTAKES)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(
    kind: str, overrides: list[str], code: int, message: str, here: Path
) -> None:
    file = write_task(kind, here)
    given = foundry("train", file, *overrides)
    assert given[0] == code, given[2]
    [line] = errors_of(given[2])
    assert re.search(message, line), line
    assert line == given[2].splitlines()[-1]
    assert list(here.iterdir()) == [file]


def test_the_wrong_name_of_a_mask_is_told_with_its_class(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = {"input_ids": "attention_masc"}
    monkeypatch.setattr(OBJECTIVES.load("write_pairs"), "masks", masks)
    code, _, err = foundry("validate", write_task("pairs", here))
    assert code == 2
    [line] = errors_of(err)
    assert re.search(
        r"plugin .*tasks\.py:\d+: WritePairs\.masks: gives 'attention_masc', which Writer\.forward "
        r"\(.*tasks\.py:\d+\) does not take; did you mean 'attention_mask'\? given are input_ids, "
        r"attention_masc, labels; forward takes input_ids, attention_mask, labels$",
        line,
    ), line


@pytest.mark.parametrize("command", ["validate", "train"])
def test_a_single_label_is_refused(command: str, here: Path) -> None:
    file = write_task("arrays", here, "training.max_steps=2")
    code, _, err = foundry(command, file, "data.train=cats.csv")
    assert code == 3, err
    assert errors_of(err) == [
        "error: override data.train: the training data have one label only ('cat'), so that there "
        "is nothing to learn; give them rows of another, or name another column"
    ]
    assert list(here.iterdir()) == [file]


class Uneven(Metric):
    """Sums of another shape for each size of batch."""

    def sums(self, done: ForwardPass) -> torch.Tensor:
        return torch.ones(len(done.inputs["labels"]))

    def result(self, sums: Any) -> float:
        return float(sums[0])


class PerRow(Loss):
    """A loss that is no mean."""

    def mean(self, done: ForwardPass) -> Any:
        return done.predictions[0].sum(-1)


class Number(Loss):
    """A loss that is no tensor."""

    def mean(self, done: ForwardPass) -> Any:
        return 1.0


@pytest.fixture(scope="module")
def mistaken(place: Path) -> None:
    """Register an objective, losses and a metric with mistakes in their code."""
    right = OBJECTIVES.load("classify_arrays")

    class Short(right):  # type: ignore[misc, valid-type]
        """Encode a label too few."""

        def encode(self, records: Any, processors: Any) -> dict[str, Any]:
            columns = super().encode(records, processors)
            return {**columns, "labels": columns["labels"][:-1]}

    schema = OBJECTIVES["classify_arrays"].schema
    spec = {"model_kind": "array_classifier", "schema": schema}
    register_objective("short", **spec)(Short)  # type: ignore[arg-type]
    register_metric("uneven", greater_is_better=True)(Uneven)
    register_loss("per_row")(PerRow)
    register_loss("number")(Number)


SHORT = ["training.objective=short", "training.short={features: [x], label: kind}"]
CODE = [  # overrides, message
    (SHORT, r"Short\.encode: the columns must be of one length, got .*'labels': 119"),
    (
        ["training.losses={per_row: 1}"],
        r"\.py:\d+: PerRow\.mean: 'per_row' must .* shape \(8,\)",
    ),
    (["training.losses={model: 1, number: 1}"], r"\.py:\d+: Number\.mean: .* tensor, got a float"),
    (
        ["training.metrics=[uneven]"],
        r"\.py:\d+: Uneven\.sums: 'uneven' gives sums of the shapes \(8,\) and \(4,\), which",
    ),
]


@pytest.mark.usefixtures("mistaken")
@pytest.mark.parametrize("command", ["validate", "train"])
@pytest.mark.parametrize(("overrides", "message"), CODE)
def test_a_mistake_in_the_code_of_a_task_is_told_in_one_line(
    overrides: list[str], message: str, command: str, here: Path
) -> None:
    code, _, err = foundry(command, file := write_task("arrays", here), *overrides)
    assert code == 2, err
    [line] = errors_of(err)
    assert re.search(message, line), line
    assert list(here.iterdir()) == [file]


def test_a_section_that_is_required_is_named(here: Path) -> None:
    file = write_task("arrays", here)
    text = re.sub(r"  classify_arrays:\n(    .*\n|    - .*\n)+", "", file.read_text())
    assert "label" not in text
    file.write_text(text)
    code, _, err = foundry("train", file)
    assert code == 2
    assert all("training.classify_arrays" in line for line in errors_of(err)) and errors_of(err)


@pytest.mark.parametrize(
    "override",
    [
        "data.packing=streams",
        "data.max_sequence_length=8",
        "tokenizer.vocab_size=99",
        "training.write_pairs={source: kind}",
    ],
)
def test_a_setting_of_another_task_has_no_effect_and_is_told_so(override: str, here: Path) -> None:
    file, field = write_task("arrays", here), override.partition("=")[0].replace(".vocab_size", "")
    code, _, err = foundry("train", file, override, "training.max_steps=1")
    assert code == 0, err
    assert f"warning: {field} has no effect: " in err


@pytest.mark.parametrize(
    "settings",
    [
        ["data.validation=one.csv"],
        ["training.per_device_train_batch_size=1000"],
        ["training.mixed_precision=bf16"],
        ["training.max_steps=null", "training.epochs=1"],
        ["training.train_metrics=[accuracy, perplexity]"],
        ["data.train=two.csv", "data.validation=one.csv", "training.classify_arrays.features=[x]"],
    ],
)
def test_unusual_settings_are_trained_with(settings: list[str], here: Path) -> None:
    code, out, err = foundry("train", write_task("arrays", here), "training.max_steps=2", *settings)
    assert code == 0, err
    assert re.search(r"^validation accuracy +[01]\.\d{4}$", out, re.M)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "unit"), [("arrays", "examples"), ("pairs", "symbols"), ("bigram", "tokens")]
)
def test_a_profile_has_the_speed_in_the_unit_of_the_task(kind: str, unit: str, here: Path) -> None:
    code, out, err = foundry("train", write_task(kind, here), "--profile")
    assert code == 0, err
    [speed] = re.findall(rf"a step takes .* ms, ([\d,]+) {unit} per second; steps 12 to 16", out)
    assert int(speed.replace(",", "")) > 0


@pytest.mark.slow
def test_the_doctor_checks_a_model_that_counts(here: Path) -> None:
    code, out, err = foundry("doctor", write_task("bigram", here))
    assert code == 0, out + err
    assert "bigram learns by counting" in out and "0 of " in out.split("generation")[1]


@pytest.mark.parametrize(
    ("command", "kind"),
    [("doctor", "arrays"), ("data", "pairs"), ("train-tokenizer", "arrays")],
)
def test_commands_for_text_say_so_before_they_read(command: str, kind: str, here: Path) -> None:
    file = write_task(kind, here, *(["data.train=none.csv"] if command != "doctor" else []))
    code, _, err = foundry(command, file)
    assert code == 2
    [line] = errors_of(err)
    assert line.startswith(f"error: {file}:") and ": training.objective" in line
    assert command == "doctor" or "reads no token stream; " in line
    assert list(here.iterdir()) == [file]


@pytest.mark.parametrize(
    "setting",
    ["learning_rate=1", "optimizer=sgd", "mixed_precision=bf16", "train_metrics=[accuracy]"],
)
def test_settings_of_gradients_have_no_effect_on_counts(setting: str, here: Path) -> None:
    code, _, err = foundry("train", write_task("bigram", here), f"training.{setting}")
    assert code == 0, err
    name = setting.partition("=")[0]
    assert f"training.{name} has no effect: architecture 'bigram' learns by counting" in err


def test_another_first_metric_is_told_by_the_setting_that_was_written(here: Path) -> None:
    file = write_task("arrays", here, "training.max_steps=1", "training.warmup_steps=0")
    assert foundry("train", file)[0] == 0
    code, _, err = foundry("train", file, "training.metrics=[loss, accuracy]")
    assert code == 5, err
    first = "training.metrics (the first decides which checkpoint is the best): accuracy -> loss"
    assert err.splitlines()[-1] == f"error:   {first}"
