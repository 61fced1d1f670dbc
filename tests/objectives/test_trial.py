"""The trial of a task's own code: each slip in one line, by `validate`, and before any training.

The task is a regression of `y` on `x`; each slip is a class that replaces one of its methods.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model_foundry.architectures import BaseModel, ModelOutput, register_architecture
from model_foundry.config import OBJECTIVES, OPTIMIZERS, SCHEDULES, ExperimentConfig, Section
from model_foundry.data.batches.arrays import ArrayExamples
from model_foundry.data.batches.examples import Ragged
from model_foundry.data_collators import CausalLMDataCollator, PaddingCollator
from model_foundry.errors import ConfigError, DataError
from model_foundry.experiment import check, train
from model_foundry.experiment.run_directory import LOCK, RunDirectory
from model_foundry.foundation.random_state import random_states
from model_foundry.model import create_model
from model_foundry.objectives import (
    CausalLM,
    Loss,
    Metric,
    Objective,
    Prepared,
    Processor,
    RecordObjective,
    register_loss,
    register_metric,
    register_objective,
)
from model_foundry.objectives.base import Inspection
from model_foundry.objectives.preparation import prepare
from model_foundry.objectives.trial import check_task
from model_foundry.training.lr_schedule import register_schedule
from model_foundry.training.metrics_log import read_metrics
from model_foundry.training.optimizer import register_optimizer, try_update
from tests.experiments import tiny_experiment
from tests.task_runs import foundry, task, tasks_loaded, write_data, write_task


class Scale(Processor):
    """The largest number."""

    saved: ClassVar[str] = "scale"
    raises: ClassVar[type[Exception] | None] = None

    def __init__(self, scale: float) -> None:
        self.scale = scale

    @property
    def sha256(self) -> str:
        return f"{self.scale}"

    def describe(self) -> str:
        return self.sha256

    def save(self, directory: Path, *, positions: int | None = None, alone: bool = False) -> None:
        (directory / self.saved).write_text(self.sha256)

    @classmethod
    def load(cls, directory: Path) -> Self:
        if cls.raises is not None:
            raise cls.raises("no scale")
        return cls(float((directory / "scale").read_text()))


class Elsewhere(Scale):
    """Written where it is not read."""

    saved = "scale2"


class Refused(Scale):
    """Missing, in the words of a user's data."""

    raises = DataError


class Another(Scale):
    """Read as another."""

    @classmethod
    def load(cls, directory: Path) -> Self:
        return cls(-1.0)


class Together(Scale):
    """Written with the model only, and not into a directory of its own in that of the run."""

    def save(self, directory: Path, *, positions: int | None = None, alone: bool = False) -> None:
        if not alone:
            super().save(directory)


class Regress(RecordObjective):
    """Predict a number."""

    columns = ("x", "y")
    processor_types: ClassVar[Mapping[str, type[Processor]]] = {"scale": Scale}

    def learn(self, records: Any) -> Any:
        return {"scale": self.processor_types["scale"](3.0)}  # type: ignore[call-arg]

    def encode(self, records: Any, processors: Any) -> Any:
        x, y = (records.numbers(name).astype(np.float32) for name in self.columns)
        return {"features": x[:, None], "labels": y}

    def model_arguments(self, processors: Any) -> Any:
        return {"width": 1}


class Bare(Objective):
    """A regression right below `Objective`."""

    def prepare(self, kept: Path | None = None) -> Prepared:
        x = np.arange(16, dtype=np.float32)
        examples = ArrayExamples({"features": x[:, None], "labels": self.labels(x)}, units={})
        collate = self.collate()
        return Prepared(
            objective=self,
            processors={},
            collate=collate,
            evaluating=collate,
            train=examples,
            validation=examples,
            test=None,
        )

    def labels(self, x: Any) -> Any:
        return x

    def collate(self) -> Any:
        return PaddingCollator({}, {})

    def inspect(self) -> Inspection:
        return Inspection([], {"width": 1}, "", self.prepare())

    def model_arguments(self, processors: Any) -> Any:
        return {"width": 1}


class Masking(Bare):
    """A task whose collator makes the only targets, in the last example."""

    def labels(self, x: Any) -> Any:
        return np.full(len(x), -100)

    def collate(self) -> Any:
        pad = super().collate()

        def masked(examples: Any) -> Any:
            batch = pad(examples)
            last = batch["features"][:, 0] == 15
            return batch | {"labels": torch.where(last, 1, batch["labels"])}

        return masked


class Unlabelled(Regress):
    """A task that leaves out every target."""

    def encode(self, records: Any, processors: Any) -> Any:
        columns = super().encode(records, processors)
        return columns | {"labels": np.full(len(records), -100)}


class Misaligned(CausalLM):
    """A language task that loses the last target of each row."""

    def aligned(self, output: Any, inputs: Any) -> Any:
        logits, labels = super().aligned(output, inputs)
        return logits, labels[:, :-1]


def slip(method: str, answer: Any) -> type[Regress]:
    """Return the task with a method that returns something else; a function is given self."""

    class Slip(Regress):
        """A slip."""

    def answered(self: Any, *given: Any, **named: Any) -> Any:
        return answer(self, *given, **named) if callable(answer) else answer

    setattr(Slip, method, answered)
    return Slip


def with_method(name: str, value: Any) -> type[Regress]:
    """Return the task with another attribute."""
    return type("Slip", (Regress,), {name: value, "__module__": __name__})


def processed(kind: type[Scale] | None) -> type[Regress]:
    """Return the task with another processor; None: one that has no type."""
    types = {} if kind is None else {"scale": kind}
    learn = (lambda *_: {"scale": Scale(1.0)}) if kind is None else Regress.learn
    return type("Slip", (Regress,), {"processor_types": types, "learn": learn})


def collated(change: Any) -> type[Regress]:
    """Return the task with a batch that is changed."""

    def collate(self: Any, processors: Any, **which: Any) -> Any:
        make = Regress.collate(self, processors, **which)
        return lambda examples: change(make(examples))

    return slip("collate", collate)


def encoded(**columns: Any) -> type[Regress]:
    """Return the task with other columns; a function is given the records."""

    def encode(self: Any, records: Any, processors: Any) -> Any:
        made = {n: c(records) if callable(c) else c for n, c in columns.items()}
        return Regress.encode(self, records, processors) | made

    return slip("encode", encode)


class Squared(Loss):
    """The squared difference."""

    def mean(self, done: Any) -> Tensor:
        logits, targets = done.predictions
        return (logits - targets).square().mean()


class Detached(Squared):
    """A loss that teaches nothing."""

    def mean(self, done: Any) -> Tensor:
        return super().mean(done).detach()


class Endless(Squared):
    """A loss that is not finite."""

    def mean(self, done: Any) -> Tensor:
        return super().mean(done) * float("nan")


class Uncounted(Squared):
    """A loss that cannot count its targets."""

    def count(self, inputs: Any) -> int:  # type: ignore[override]
        return 1


class Broken(Squared):
    """A loss that raises."""

    def mean(self, done: Any) -> Tensor:
        raise KeyError("weights")


class Mae(Metric):
    """The mean difference."""

    def sums(self, done: Any) -> Any:
        logits, targets = done.predictions
        return torch.stack([(logits - targets).abs().sum(), torch.tensor(float(len(targets)))])

    def result(self, sums: Any) -> Any:
        return float(sums[0] / sums[1])


def metric(method: str, answer: Any) -> type[Metric]:
    """Return a metric with a method that returns something else, or raises it."""

    def answered(self: Any, given: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return type("Odd", (Mae,), {method: answered})


TASKS = {  # name: class, message
    "nothing": (collated(lambda _: None), r"Slip\.collate: .* return a dict of tensors, got None"),
    "nameless": (
        collated(lambda batch: {"features": batch["features"]}),
        r"Slip\.collate: must give a batch 'labels', unless count_targets",
    ),
    "unconverted": (
        collated(lambda batch: {name: value.numpy() for name, value in batch.items()}),
        r"Slip\.collate: its function must give 'features' as a tensor, got ndarray",
    ),
    "short": (
        collated(lambda batch: batch | {"labels": batch["labels"][:-1]}),
        r"Slip\.collate: .* 'labels' of shape \(7,\) for 8 examples; must be \(8, \.\.\.\)",
    ),
    "misnamed": (
        collated(lambda batch: {"featurez": batch["features"], "labels": batch["labels"]}),
        r"test_trial.py:\d+: Slip\.collate: gives 'featurez', which Line\.forward "
        r"\(.*test_trial.py:\d+\) does not take; did you mean 'features'\? given are featurez, "
        r"labels; forward takes features, labels$",
    ),
    "renamed": (
        slip("encode", lambda self, *given: {"inputs": np.ones(9), "labels": np.ones(9)}),
        r"Slip\.encode: gives 'inputs', which .* does not take; did you mean 'features'\? given",
    ),
    "further": (
        encoded(x=lambda records: np.ones(len(records))),
        r"Slip\.encode: gives 'x', which .* not take; given are",
    ),
    "fewer": (
        slip("encode", lambda self, *given: {"labels": np.ones(9, np.float32)}),
        r"Slip\.encode: gives no 'features', which Line\.forward .* requires; given are labels",
    ),
    "labelled": (
        slip("encode", lambda self, *given: {"label": np.ones(9)}),
        r"Slip\.encode: must give a batch 'labels', unless .* overridden; it gives label$",
    ),
    "double": (
        encoded(features=lambda records: records.numbers("x")[:, None]),
        r"Slip\.encode: gives 'features' as float64, .* float32; convert it with astype\(np.flo",
    ),
    "doubled": (
        collated(lambda batch: batch | {"labels": batch["labels"].double()}),
        r"Slip\.collate: gives 'labels' as float64, .* float32; convert it with float\(\)",
    ),
    "unencoded": (slip("encode", None), r"Slip\.encode: must return a dict of arrays, got None"),
    "words": (
        encoded(labels=np.array(["a", "b"])),
        r"Slip\.encode: column 'labels' must be an array of numbers .*, got an array of <U1",
    ),
    "hole": (encoded(labels=None), r"Slip\.encode: column 'labels' .* \(N, \.\.\.\), got None"),
    "unsized": (slip("model_arguments", None), r"Slip\.model_arguments: must return a dict, got"),
    "lists": (
        encoded(features=lambda records: [[0.0] * (1 + n % 2) for n in range(len(records))]),
        r"py:\d+: Slip\.encode: column 'features' has rows of unequal length; join .* Ragged\.of",
    ),
    "keyless": (
        with_method("collate", lambda self, processors: None),
        r"py:\d+: Slip\.collate: must take \(self, processors, \*, seed, evaluating\), as it is "
        r"called; it takes \(self, processors\)",
    ),
    "recordless": (with_method("encode", lambda self: None), r"py:\d+: Slip\.encode: must take \("),
    "name": (with_method("columns", "x"), r"Slip\.columns: must be a list of names, got str 'x'$"),
    "method": (with_method("columns", lambda self: ["x"]), r"Slip\.columns: .* make it a property"),
    "wide": (
        slip("model_arguments", {"width": np.int64(1)}),
        r"Slip\.model_arguments: 'width' must be of JSON types, got int64 .*; convert it with int",
    ),
    "unlearned": (slip("learn", None), r"Slip\.learn: must return a dict by role, got None"),
    "elsewhere": (processed(Elsewhere), r"Elsewhere\.load: FileNotFoundError: "),
    "refused": (processed(Refused), r"Refused\.load: cannot read what save wrote \(no scale\)"),
    "together": (processed(Together), r"Together\.load: FileNotFoundError: "),
    "roleless": (slip("learn", {}), r"Slip\.learn: gives no 'scale', which processor_types names"),
    "another": (processed(Another), r"Another\.load: the processor 'scale' .* another sha256"),
    "untyped": (processed(None), r"Slip\.learn: gives the role 'scale' a Scale, which processor"),
}
METRICS_OF_SLIPS = {  # name: class, message
    "sum": (metric("sums", 1.0), r"Odd\.sums: must return a tensor, got 1\.0"),
    "raises": (metric("sums", ValueError("no")), r"Odd\.sums: ValueError: no"),
    "late": (metric("result", ValueError("no")), r"Odd\.result: ValueError: no"),
    "truth": (metric("result", True), r"Odd\.result: gives 'truth' the value true, which is no"),
    "none": (metric("result", None), r"Odd\.result: gives 'none' the value null, which is no"),
    "number": (metric("result", {1: 2.0}), r"Odd\.result: names a figure 1; give it a text"),
}
LOSSES_OF_SLIPS = {
    "detached": (Detached, r"Detached\.mean: has no gradient; compute it"),
    "broken": (Broken, r"Broken\.mean: KeyError: 'weights'"),
    "endless_loss": (
        Endless,
        r"py:\d+: Endless\.mean: the loss 'endless_loss' is nan on the first examples, before any",
    ),
    "uncounted": (Uncounted, r"py:\d+: Uncounted\.count: must take \(self, inputs, targets\)"),
    "anonymous": (
        type("Anonymous", (Squared,), {"mean": lambda self, done: None}),
        r"test_trial\.py:\d+: Anonymous\.mean: 'anonymous' must be a scalar tensor, got a NoneType",
    ),
}
HITS = "'hits' decides which checkpoint is the best, but .* a mapping of 'at_1', 'at_3' only; add"
SETTINGS = {  # override: message
    "training.metrics=[hits, mae]": HITS,
    "training.metrics=[mae, hits]&training.metric_for_best_model=hits": HITS,
    "training.metrics=[mae, twin]": "'mae' and 'twin' both give the figure 'mae'; name it",
    "training.metrics=[accuracy]": (
        r"training\.metrics: 'accuracy' needs integer targets \(N,\) and logits \(N, C\), got "
        r"float32 \(8,\) and \(8,\); name another"
    ),
    "training.losses={z_loss: 1}": r"training\.losses: 'z_loss' needs integer targets",
    "training.metrics=[mae, perplexity]": r"training\.metrics: 'perplexity' needs integer targets",
    "training.train_metrics=[perplexity]": r"training\.train_metrics: 'perplexity' needs integer",
    "training.train_metrics=[accuracy]": r"training\.train_metrics: 'accuracy' needs integer",
}


COPIED = (
    r"training\.objective: 'classes', .*:Regress: register_objective\(metrics=\.{3}\): 'accuracy'"
)
BARE = {  # settings of a task right below `Objective`: message
    "metrics=[perplexity]": r"training\.metrics: 'perplexity' needs integer targets \(N,\)",
    "metrics=[mae, sum]": METRICS_OF_SLIPS["sum"][1],
    "losses={detached: 1}": LOSSES_OF_SLIPS["detached"][1],
}


class Line(BaseModel):
    """A straight line."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 1)

    @classmethod
    def from_config(cls, config: ExperimentConfig, **arguments: Any) -> Self:
        return cls(**arguments)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> ModelOutput:
        logits = self.layer(features)[:, 0]
        loss = None if labels is None else (logits - labels).square().mean()
        return ModelOutput(loss=loss, logits=logits)

    @property
    def model_type(self) -> str:
        return "line"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with data; the tasks, losses and metrics are registered."""
    directory = tmp_path_factory.mktemp("trial")
    write_data(directory)
    with tasks_loaded():
        spec: dict[str, Any] = {"model_kind": "regressor"}
        spec |= {"losses": {"squared": 1.0}, "metrics": ("mae",)}
        register_architecture("line", "line", (), kind="regressor", schema=Section)(Line)
        tried = {"regress": Regress, "bare": Bare, "masking": Masking, "unlabelled": Unlabelled}
        for name, cls in tried.items():
            register_objective(name, **spec)(cls)
        register_objective("classes", **spec | {"metrics": ("accuracy", "loss")})(Regress)
        for name, (task_class, _) in TASKS.items():
            register_objective(name, **spec)(task_class)
        odd = {name: cls for name, (cls, _) in METRICS_OF_SLIPS.items()}
        odd |= {"mae": Mae, "twin": metric("result", {"twin": 1.0, "mae": 5.0})}
        odd |= {"hits": metric("result", {"at_1": 0.5, "at_3": 0.7})}
        odd |= {"lost": metric("result", {}), "endless": metric("result", float("inf"))}
        for name, cls in odd.items():
            register_metric(name, greater_is_better=False)(cls)
        for name, loss in {"squared": (Squared, ""), **LOSSES_OF_SLIPS}.items():
            register_loss(name)(loss[0])
        yield directory


@pytest.fixture
def here(place: Path) -> Path:
    directory = place / f"run-{len(list(place.iterdir()))}"
    directory.mkdir()
    return directory


LINE = "model={architecture: line, line: {}}"


def regression(name: str = "regress") -> list[str]:
    settings = "max_steps: 2, warmup_steps: 1, eval_steps: 1, mixed_precision: 'no'"
    return [LINE, f"training={{objective: {name}, {settings}}}"]


SLIPS = [
    *((regression(name), message) for name, (_, message) in TASKS.items()),
    *(
        ([*regression(), f"training.{field}=[{names}]"], message)
        for name, (_, message) in METRICS_OF_SLIPS.items()
        for field, names in (("metrics", f"mae, {name}"), ("train_metrics", name))
    ),
    *(
        ([*regression(), f"training.losses={{{name}: 1}}"], message)
        for name, (_, message) in LOSSES_OF_SLIPS.items()
    ),
    *(([*regression(), *given.split("&")], message) for given, message in SETTINGS.items()),
    (regression("classes"), COPIED),
    *(([*regression("bare"), f"training.{given}"], message) for given, message in BARE.items()),
]


@pytest.mark.parametrize("command", ["validate", "train"])
@pytest.mark.parametrize(("overrides", "message"), SLIPS)
def test_a_slip_is_told_in_one_line_before_anything_is_trained(
    overrides: list[str], message: str, command: str, here: Path
) -> None:
    code, out, err = foundry(command, file := write_task("arrays", here), *overrides)
    assert code == 2, out + err
    [line] = [each for each in err.splitlines() if each.startswith("error: ")]
    assert re.search(message, line), line
    assert list(here.iterdir()) == [file]


def test_a_model_with_weights_of_fp64_gets_such_numbers(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Line.__init__

    def doubled(self: Line, width: int) -> None:
        make(self, width)
        self.double()

    monkeypatch.setattr(Line, "__init__", doubled)
    code, _, err = foundry("train", write_task("arrays", here), *regression("double"))
    assert code == 0, err


def files_of(directory: Path) -> dict[Path, bytes]:
    """Return the content of each file but the lock, which names its last holder."""
    found = (file for file in directory.rglob("*") if file.is_file() and file.name != LOCK)
    return {file: file.read_bytes() for file in found}


@pytest.mark.parametrize("option", ["--fresh", "--extend"])
def test_a_slip_changes_nothing_of_an_earlier_run(
    option: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_task("arrays", here)
    assert foundry("train", file, *regression())[0] == 0
    before = files_of(here)
    monkeypatch.setattr(Mae, "sums", lambda *_: 1.0)
    code, _, err = foundry("train", file, *regression(), "training.max_steps=4", option)
    assert code == 2 and "Mae.sums: must return a tensor" in err, err
    assert files_of(here) == before
    monkeypatch.undo()
    assert foundry("train", file, *regression(), "training.max_steps=4", option)[0] == 0
    assert files_of(here) != before


MISSPELT: dict[str, tuple[dict[str, Any], str]] = {
    "mea": (
        {"metrics": ("loss", "mea")},
        "(metrics=...): Unknown metric: 'mea'; did you mean 'mae'?",
    ),
    "sqared": (
        {"losses": {"sqared": 1.0}},
        "(losses=...): Unknown loss: 'sqared'; did you mean 'squared'?",
    ),
    "bytes": (
        {"metrics": ("bits_per_byte",)},
        "(metrics=...): 'bits_per_byte' needs a token stream, which 'misspelt' does not read",
    ),
}


@pytest.mark.parametrize(("given", "law"), MISSPELT.values(), ids=MISSPELT)
def test_a_misspelt_default_of_a_task_is_told_with_its_place(
    given: dict[str, Any], law: str, here: Path
) -> None:
    file = write_task("arrays", here, *regression("misspelt"))
    register_objective("misspelt", model_kind="regressor", **given)(Regress)
    try:
        code, _, err = foundry("train", file)
        overridden = foundry(
            "validate", file, "training.metrics=[mae]", "training.losses={squared: 1}"
        )
    finally:
        OBJECTIVES.remove("misspelt")
    assert code == 2, err
    place = "'misspelt', tests.objectives.test_trial:Regress: register_objective"
    assert f": training.objective: {place}{law}" in err
    assert list(here.iterdir()) == [file]
    assert overridden[0] == 0, overridden


@pytest.mark.parametrize("given", [{"metrics": "mae"}, {"losses": ["squared"]}])
def test_defaults_of_another_type_are_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=r"^losses must be a dict of weights by name, metrics a t"):
        register_objective("misspelt", **given)(Regress)


@pytest.mark.parametrize("name", ["regress", "bare"])
def test_a_task_without_a_slip_is_trained(name: str, here: Path) -> None:
    for command in ("validate", "train"):
        code, out, err = foundry(command, write_task("arrays", here), *regression(name))
        assert code == 0, out + err


@pytest.mark.parametrize("command", ["validate", "train"])
def test_data_without_a_target_are_refused_before_anything_is_written(
    command: str, here: Path
) -> None:
    file = write_task("arrays", here)
    code, _, err = foundry(command, file, *regression("unlabelled"))
    assert code == 3, err
    [line] = [each for each in err.splitlines() if each.startswith("error: ")]
    assert line.startswith(
        f"error: {file}:2: data.train: none of the 120 examples has a target (a label other"
    )
    assert line.endswith(
        "give other data (data.train), or correct the labels that Unlabelled makes"
    )
    assert list(here.iterdir()) == [file]


def ragged(value: float) -> Any:
    """Return a column of rows of two numbers, the last of which is `value`."""
    return lambda n: Ragged(np.array([*[1.0] * (2 * n - 1), value]), np.arange(0, 2 * n + 1, 2))


NOT_FINITE = {  # column of n rows: the value that is told
    "nan": (lambda n: np.append(np.ones(n - 1, np.float32), np.nan), "nan"),
    "wide": (lambda n: np.append(np.ones((n - 1, 3)), [[1, 2, -np.inf]], axis=0), "-inf"),
    "ragged": (ragged(np.inf), "inf"),
}


@pytest.mark.parametrize("command", ["validate", "train"])
@pytest.mark.parametrize(("column", "value"), NOT_FINITE.values(), ids=NOT_FINITE)
def test_a_value_that_is_not_finite_is_told_with_its_record(
    column: Any, value: str, command: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Regress.encode
    monkeypatch.setattr(
        *(Regress, "encode"), lambda self, r, p: encode(self, r, p) | {"size": column(len(r))}
    )
    table = here.parent / "table.csv"
    file = write_task("arrays", here, f"data={{train: {table}, validation: {table}}}")
    code, _, err = foundry(command, file, *regression())
    assert code == 3, err
    [line] = [each for each in err.splitlines() if each.startswith("error: ")]
    law = rf"table\.csv: line 151: Regress\.encode gives 'size' the value {value}, not a finite num"
    assert re.search(law, line), line
    assert list(here.iterdir()) == [file]


def test_targets_that_a_collator_makes_in_any_batch_are_enough(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = task("arrays", here, *regression("masking"))
    assert prepare(config).validation
    monkeypatch.setattr(Masking, "collate", Bare.collate)
    with pytest.raises(DataError, match=r"data\.train: none of the 16 examples has a target"):
        prepare(config)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lost", "'lost' gives no figure; correct it, or leave it out"),
        ("endless", "'endless' is not finite on these examples (endless inf); correct it"),
    ],
)
def test_a_metric_without_a_finite_figure_is_warned_of_once(
    name: str, message: str, here: Path
) -> None:
    file = write_task("arrays", here)
    code, _, err = foundry("train", file, *regression(), f"training.metrics=[mae, {name}]")
    assert code == 0, err
    assert err.count(f"training.metrics: {message}") == 1


def test_a_best_metric_without_a_figure_makes_no_checkpoint_the_best(here: Path) -> None:
    file = write_task("arrays", here)
    settings = [*regression(), "training.metrics=[lost]", "training.eval_steps=1"]
    code, out, err = foundry("train", file, *settings, "training.save_steps=1")
    assert code == 0, err
    warning = "'lost' gives no figure (without it no checkpoint is the best); correct it, or leave"
    assert err.count(f"training.metrics: {warning}") == 1
    status, log = RunDirectory(here / "run").status(), read_metrics(here / "run" / "metrics.jsonl")
    assert status is not None and status.best is None
    assert re.search("^best +none: lost was never finite$", out, re.M)
    assert not [line for line in log if any(name.startswith("eval/") for name in line)]
    code, _, err = foundry("train", file, *settings, "training.max_steps=4", "--extend")
    assert code == 0 and "lines up to step" not in err, err


def test_a_trial_leaves_the_model_and_the_random_generator_alone(here: Path) -> None:
    config = task("arrays", here, *regression())
    prepared, model = prepare(config), create_model(config, width=1)
    before, state = [p.clone() for p in model.parameters()], torch.get_rng_state()
    check_task(model, prepared)
    assert all(
        (p == b).all() and p.grad is None for p, b in zip(model.parameters(), before, strict=True)
    )
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("training.losses={detached: 1}", LOSSES_OF_SLIPS["detached"][1]),
        ("training.metrics=[loss, sum]", METRICS_OF_SLIPS["sum"][1]),
        ("training.train_metrics=[late]", METRICS_OF_SLIPS["late"][1]),
        ("training.metrics=[hits]", HITS),
    ],
)
@pytest.mark.usefixtures("place")
def test_the_losses_and_metrics_of_a_language_model_are_tried_too(
    settings: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Detached, "mean", lambda self, done: done.output.loss.detach())
    monkeypatch.setattr(Mae, "sums", lambda self, done: torch.ones(2))
    prepared = prepare(config := tiny_experiment("gpt2", tmp_path, settings))
    model = create_model(config, tokenizer=prepared.tokenizer)
    with pytest.raises(ConfigError, match=message):
        check_task(model, prepared)
    with pytest.raises(ConfigError, match=message):
        check(config)


def test_the_task_of_a_language_model_is_tried_with_our_losses_and_metrics(tmp_path: Path) -> None:
    prepared = prepare(config := tiny_experiment("gpt2", tmp_path, "training.metrics=[accuracy]"))
    model = create_model(config, tokenizer=prepared.tokenizer)
    check_task(model, prepared)
    law = r"model\.architecture: the logits must be \(\.{3}, C\) or \(\.{3}\) for targets \(\.{3}\)"
    with pytest.raises(ConfigError, match=law):
        check_task(model, replace(prepared, objective=Misaligned(config)))


class Collated(CausalLMDataCollator):
    """Gives a tensor another name."""

    renamed: ClassVar[tuple[str, str]]

    def __call__(self, features: Any) -> Any:
        old, new = self.renamed
        batch = super().__call__(features)
        batch |= {"masc": batch["labels"]} if old == new else {}
        return {new if name == old else name: tensor for name, tensor in batch.items()}


@pytest.mark.parametrize(
    ("renamed", "message"),
    [
        (
            ("labels", "label"),
            r"Collated\.__call__: must give a batch 'labels'; it gives input_ids",
        ),
        (
            ("input_ids", "ids"),
            r"Collated\.__call__: must give a batch 'input_ids'; it gives .*ids",
        ),
        (("masc", "masc"), r"Renamed\.collator: TypeError: .* know 'masc'; it takes att"),
    ],
)
@pytest.mark.usefixtures("place")
def test_a_collator_of_a_plugin_is_named_for_the_names_that_it_gives(
    renamed: tuple[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Renamed(CausalLM):
        def collator(self, tokenizer: Any, *, seed: int) -> Any:
            return Collated(tokenizer)

    monkeypatch.setattr(Collated, "renamed", renamed, raising=False)
    name = f"renamed_{renamed[1]}"
    register_objective(name, direction="left_to_right", variant_of="causal_lm")(Renamed)
    with pytest.raises(ConfigError, match=message):
        train(tiny_experiment("gpt2", tmp_path, f"training.objective={name}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("summary", {"train": {1}}, r"Regress\.summary: 'train' must be of JSON types"),
        ("examples_per_pass", 8, r"training\.warmup_steps: must be <= the 1 steps of 1 epochs"),
    ],
)
@pytest.mark.parametrize("command", ["validate", "train"])
def test_faults_before_the_first_step_are_found_without_training(
    *, command: str, method: str, given: Any, message: str, here: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(Regress, method, lambda *_: given)
    steps = ["training.max_steps=null", "training.epochs=1", "training.warmup_steps=2"]
    settings = steps if method == "examples_per_pass" else []
    code, _, err = foundry(command, file := write_task("arrays", here), *regression(), *settings)
    assert code == 2 and re.search(message, err), err
    assert list(here.iterdir()) == [file]


@pytest.mark.parametrize("command", ["validate", "train"])
def test_the_trial_computes_in_the_precision_of_the_training(
    command: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Line.forward

    def unconverted(self: Any, features: Tensor, labels: Tensor | None = None) -> ModelOutput:
        self.layer(features).detach().numpy()
        return forward(self, features, labels)

    monkeypatch.setattr(Line, "forward", unconverted)
    file, bf16 = write_task("arrays", here), "training.mixed_precision=bf16"
    code, _, err = foundry(command, file, *regression(), bf16)
    assert code == 2 and "Line.forward: TypeError: Got unsupported ScalarType BFloat16" in err, err
    assert foundry(command, file, *regression())[0] == 0


@pytest.mark.parametrize("command", ["validate", "train"])
def test_an_optimizer_that_is_none_is_told_before_anything_is_written(
    command: str, here: Path
) -> None:
    make_optimizer = register_optimizer(f"none_{command}")
    make_optimizer(lambda groups, training: None)  # type: ignore[arg-type, return-value]
    given = f"training.optimizer=none_{command}"
    try:
        code, _, err = foundry(command, file := write_task("arrays", here), *regression(), given)
    finally:
        OPTIMIZERS.remove(f"none_{command}")
    assert code == 2 and "must return a torch.optim.Optimizer, got NoneType" in err, err
    assert list(here.iterdir()) == [file]


class Drawing(torch.optim.SGD):
    """Gradient descent that draws, and replaces the gradients."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        torch.rand(3)
        np.random.random()
        super().step()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.full_like(parameter, torch.nan)


class Raising(torch.optim.SGD):
    """An optimizer with a slip."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        raise KeyError(next(p for p in self.param_groups[0]["params"] if p.grad is not None).dim())


OWN = {  # function of an optimizer or a schedule: message
    "raising": (
        lambda groups, training: Raising(groups, 0.1),
        r"test_trial\.py:\d+: Raising\.step: KeyError: 2",
    ),
    "sections": (lambda groups, training, section: None, r"test_trial\.py:\d+: <lambda>: TypeErr"),
    "middle": (
        lambda point, training: math.nan if point.progress == 0.5 else 0.1,
        r"the schedule 'middle' must return a number >= 0, got nan for a progress of 0\.5",
    ),
    "last": (
        lambda point, training: 1 / (1 - point.progress),
        r"py:\d+: <lambda>: ZeroDivisionError",
    ),
    "sectioned": (
        lambda point, training, section: 1.0,
        r"test_trial\.py:\d+: <lambda>: TypeErr",
    ),
}


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Iterator[str]:
    """Register the optimizers and schedules."""
    for name in OWN:
        register = register_optimizer if name in ("raising", "sections") else register_schedule
        register(name)(OWN[name][0])  # type: ignore[operator]
    register_optimizer("drawing")(lambda groups, training: Drawing(groups, 0.1, momentum=0.9))
    yield ""
    for name in (*OWN, "drawing"):
        (SCHEDULES if name in SCHEDULES else OPTIMIZERS).remove(name)


@pytest.mark.parametrize("kind", ["arrays", "bigram"])
@pytest.mark.parametrize("command", ["validate", "train"])
@pytest.mark.parametrize("name", OWN)
@pytest.mark.usefixtures("own")
def test_an_optimizer_and_a_schedule_are_tried_before_anything_is_written(
    name: str, command: str, kind: str, here: Path
) -> None:
    field = "optimizer" if name in ("raising", "sections") else "lr_scheduler_type"
    settings = [f"training.{field}={name}"]
    if kind == "arrays":
        settings = [*regression(), *settings]
    else:  # a language model of ours
        model = "{architecture: gpt2, transformer: {layers: 1, hidden_size: 8, attention_heads: 1}}"
        settings += [f"model={model}", "training.epochs=null", "training.max_steps=2"]
    code, _, err = foundry(command, file := write_task(kind, here), *settings)
    assert code == 2, err
    [line] = [each for each in err.splitlines() if each.startswith("error: ")]
    assert re.search(OWN[name][1], line), line
    assert list(here.iterdir()) == [file]


@pytest.mark.usefixtures("place", "own")
def test_an_optimizer_is_tried_where_a_text_task_is_a_plugins(tmp_path: Path) -> None:
    register_objective("own_text", direction="left_to_right", variant_of="causal_lm")(Misaligned)
    settings = "training={objective: own_text, optimizer: raising, max_steps: 2}"
    try:
        with pytest.raises(ConfigError, match=r"test_trial\.py:\d+: Raising\.step: KeyError: 2"):
            check(tiny_experiment("gpt2", tmp_path, settings))
    finally:
        OBJECTIVES.remove("own_text")


@pytest.mark.usefixtures("own")
def test_the_trial_of_an_optimizer_changes_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained() -> bytes:
        settings = [*regression(), "training.optimizer=drawing"]
        file = write_task("arrays", here)
        assert foundry("train", file, *settings, "--fresh")[0] == 0
        return (here / "run" / "model" / "model.safetensors").read_bytes()

    tried = trained()
    monkeypatch.setattr("model_foundry.experiment.attempt.check_task", lambda *_: None)
    assert trained() == tried
    config = task("arrays", here, *regression(), "training.optimizer=drawing")
    prepared, model = prepare(config), create_model(config, width=1)
    before, states = [p.clone() for p in model.parameters()], random_states()
    updates: list[bool] = []

    def update(model: BaseModel) -> None:
        try_update(model, config.training)
        updates.append(
            all(torch.isnan(p.grad).all() for p in model.parameters() if p.grad is not None)
        )

    check_task(model, prepared, update)
    assert updates == [True]
    assert all(
        torch.equal(p, b) and p.grad is None
        for p, b in zip(model.parameters(), before, strict=True)
    )
    assert str(random_states()) == str(states)


def test_the_loss_of_a_model_is_finite(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Line.forward

    def infinite(self: Any, features: Tensor, labels: Tensor | None = None) -> ModelOutput:
        output = forward(self, features, labels)
        return replace(output, loss=None if output.loss is None else output.loss / 0)

    monkeypatch.setattr(Line, "forward", infinite)
    file = write_task("arrays", here)
    given = foundry("train", file, *regression(), "training.losses={squared: 1, model: 1}")
    assert given[0] == 2
    assert "Line.forward: the loss 'model' is inf on the first examples" in given[2]
    assert list(here.iterdir()) == [file]


@pytest.mark.parametrize("output", [ModelOutput(), ModelOutput(logits=torch.ones(8))])
def test_logits_that_do_not_fit_are_told_with_the_file_of_the_model(
    output: ModelOutput, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Line.forward

    def changed(self: Any, features: Tensor, labels: Tensor | None = None) -> ModelOutput:
        logits = None if output.logits is None else output.logits[: len(features) - 1]
        return replace(forward(self, features, labels), logits=logits)

    monkeypatch.setattr(Line, "forward", changed)
    code, _, err = foundry("validate", write_task("arrays", here), *regression())
    assert code == 2
    assert re.search(r"error: plugin .*test_trial\.py:\d+: Line\.forward: the .*logits", err), err


@pytest.mark.parametrize(
    ("labels", "targets"),
    [
        (torch.tensor([-100, 1, -100, 0]), [1, 0]),
        (torch.tensor([-100.0, 1.5, 0.0]), [-100.0, 1.5, 0.0]),
        (torch.tensor([156, 3], dtype=torch.uint8), [156, 3]),  # -100 + 256
        (torch.tensor([True, False]), [1, 0]),
    ],
)
def test_minus_a_hundred_is_no_target_among_integers_only(
    labels: Tensor, targets: list[float], here: Path
) -> None:
    objective = prepare(task("arrays", here, *regression())).objective
    inputs, output = {"labels": labels}, ModelOutput(logits=labels.float())
    assert objective.count_targets(inputs) == len(targets)
    done = objective.run(lambda **_: output, inputs, objective.targets(inputs))
    assert [each.tolist() for each in done.predictions] == [targets, targets]


def test_a_model_without_logits_is_refused_where_they_are_read(here: Path) -> None:
    objective = prepare(task("arrays", here, *regression())).objective
    done = objective.run(lambda **_: ModelOutput(), {"labels": torch.ones(3)}, {"squared": 3})
    with pytest.raises(ConfigError, match="the model returned no logits, which a loss or a metric"):
        _ = done.predictions
