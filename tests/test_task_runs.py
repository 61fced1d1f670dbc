"""Tasks of a plugin, and those of encoder-decoders, resumed, in several processes and in
micro-batches: always the same run.

So too with losses whose targets differ in number, and with a model that counts.
"""

import csv
import json
import math
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from model_foundry.config import OBJECTIVES
from model_foundry.data.sources.records import Records
from model_foundry.doctor.same_run import differences
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.experiment.train import train
from model_foundry.foundation.atomic_files import commit_directory
from model_foundry.foundation.plugins import load_plugin
from model_foundry.model import load_model
from model_foundry.objectives import (
    ForwardPass,
    Loss,
    Processor,
    register_loss,
    register_objective,
)
from model_foundry.objectives.forward_pass import Inputs
from model_foundry.training.checkpoint.choice import step_directories
from model_foundry.training.metrics_log import read_metrics
from tests.children import KILLED, Fault, in_child, launched
from tests.task_runs import PLUGIN, task, train_task, write_data, write_task

pytestmark = pytest.mark.slow

FIRST_CLASS = "training.losses={model: 1.0, first_class: 0.5}"
NOISE = "training.transforms=[{add_noise: {deviation: 0.5, keys: {values: features}}}]"
THREE = "training.metrics=[accuracy, loss, perplexity]"
SGD = ("training.optimizer=sgd", "training.learning_rate=0.5", "training.max_steps=4")
HARD = {  # settings under which a resumed run has most to restore
    "arrays": (
        *("model.perceptron.dropout=0.3", "training.dataloader_num_workers=2"),
        *("training.train_metrics=[accuracy, perplexity]", FIRST_CLASS, THREE),
        *("training.gradient_accumulation_steps=2", "training.eval_steps=3", NOISE),
    ),
    "pairs": (
        *("training.train_metrics=[whole_copies]", "training.eval_steps=3"),
        *("training.dataloader_num_workers=1", "training.gradient_accumulation_steps=2"),
    ),
    "bigram": ("training.eval_steps=3", "training.dataloader_num_workers=1"),
    "denoising": (
        *("model.transformer.dropout=0.1", "training.gradient_accumulation_steps=2"),
        *("training.eval_steps=3", "training.dataloader_num_workers=1"),
    ),
    "translation": (
        *("model.backbone.dropout=0.1", "model.backbone.attention_dropout=0.1"),
        *("training.train_metrics=[accuracy]", "training.eval_steps=3"),
        *("training.dataloader_num_workers=1", "training.gradient_accumulation_steps=2"),
    ),
}
PADDED = ("pairs", "denoising", "translation")  # rows of unequal lengths
DRAWN = ("training={objective: write_drawn, write_drawn: {}, max_steps: 2, warmup_steps: 1}",)
TIMES = ("attempt", "time", "_per_second", "memory_mib")


class FirstClass(Loss):
    """The probability that is missing from the rows of the first class, which are its targets."""

    def count(self, inputs: Inputs, targets: int) -> int:
        return int((inputs["labels"] == 0).sum())

    def mean(self, done: ForwardPass) -> Tensor:
        logits, labels = done.predictions
        missing = 1 - logits.softmax(-1)[:, 0]
        return missing[labels == 0].sum() / max(1, int((labels == 0).sum()))


def train_with_fault(
    kind: str, directory: Path, overrides: tuple[str, ...], fault: Fault | None
) -> None:
    """Train in this process, with `first_class` among the losses."""
    register_loss("first_class")(FirstClass)
    train_task(kind, directory, overrides, fault)


def child(
    kind: str, directory: Path, *overrides: str, fault: Fault | None = None, code: int = 0
) -> str:
    """Train in a process of its own, which must end with an exit code; return its messages."""
    return in_child(train_with_fault, kind, directory, overrides, fault, code=code).stderr


def together(number: int, kind: str, directory: Path, *overrides: str) -> Path:
    """Train in several processes, as a launcher starts them; return the run directory."""
    for ended in launched(*[(train_with_fault, kind, directory, overrides, None)] * number):
        assert ended.code == 0, ended.stderr
    return directory / "run"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs")
    write_data(directory)
    return directory


@pytest.fixture
def here(place: Path) -> Path:
    """A directory below the data, for one test."""
    directory = place / f"{len(list(place.iterdir()))}"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def whole(place: Path) -> Iterator[dict[str, Path]]:
    """The uninterrupted run of each kind."""
    runs = {}
    for kind, settings in HARD.items():
        child(kind, place / f"whole-{kind}", *settings)
        runs[kind] = place / f"whole-{kind}" / "run"
    yield runs


def untimed(run: Path) -> list[dict[str, Any]]:
    lines = read_metrics(run / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.endswith(TIMES)} for line in lines]


@pytest.mark.parametrize("kind", HARD)
def test_a_killed_run_that_resumes_is_the_uninterrupted_one(
    kind: str, here: Path, whole: dict[str, Path]
) -> None:
    for step in (6, 11):
        child(kind, here, *HARD[kind], fault=Fault(f"step {step} made"), code=KILLED)
    child(kind, here, *HARD[kind])
    run = here / "run"
    status = RunDirectory(run).status()
    assert status is not None and (status.state, status.attempt) == ("completed", 3)
    assert differences(whole[kind], run) == []
    assert untimed(run) == untimed(whole[kind])
    for path in step_directories(run / "checkpoints"):
        for file in path.glob("*.safetensors"):
            other = load_file(whole[kind] / "checkpoints" / path.name / file.name)
            tensors = load_file(file)
            assert tensors.keys() == other.keys()
            assert all(torch.equal(tensor, other[name]) for name, tensor in tensors.items())


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model" / "model.safetensors")


def must_agree(run: Path, other: Path) -> None:
    """Require the same batches, counts and shares, and weights that differ by rounding only."""
    for line, expected in zip(untimed(run), untimed(other), strict=True):
        line.pop("train/batch_digest", None)
        expected.pop("train/batch_digest", None)
        for name in ("train/accuracy", "eval/accuracy", "eval/whole_copies"):
            assert line.get(name) == expected.get(name), (name, line["step"])
        assert line == pytest.approx(expected, rel=1e-5, abs=1e-6)
    for name, tensor in weights(run).items():
        torch.testing.assert_close(tensor, weights(other)[name], rtol=1e-5, atol=1e-6)


def sizes(rows: int, *, evaluated: int) -> tuple[str, ...]:
    """Return the settings of a step of eight rows, so many at a time."""
    return (
        f"training.per_device_train_batch_size={rows}",
        f"training.gradient_accumulation_steps={8 // rows}",
        f"training.per_device_eval_batch_size={evaluated}",
    )


@pytest.mark.parametrize(
    ("kind", "further"),
    [
        *(("arrays", ()), ("arrays", (FIRST_CLASS, THREE)), ("arrays", (NOISE,)), ("pairs", ())),
        *(("translation", ()), ("denoising", ())),
    ],
    ids=["arrays", "two losses", "noise", "pairs", "translation", "denoising"],
)
def test_a_step_is_the_same_however_it_is_divided(
    kind: str, further: tuple[str, ...], here: Path
) -> None:
    """1 x 8, 4 x 2 and 2 x 4 rows, the last in two processes too, whose targets differ in number.

    Evaluations are in batches of other sizes.
    """
    settings = (*SGD, *further, "training.logging_steps=1", "training.eval_steps=2")
    settings += ("training.train_metrics=[accuracy]",)
    runs = []
    for rows, evaluated in ((8, 5), (2, 1), (4, 16)):
        given = sizes(rows, evaluated=evaluated)
        child(kind, here / f"{rows}", *settings, *given)
        runs.append(here / f"{rows}" / "run")
    runs.append(together(2, kind, here / "two", *settings, *given))
    digests = [[line.get("train/batch_digest") for line in untimed(run)] for run in runs]
    assert digests[2] == digests[3]
    # a hash has the padding too, which is as long as the longest sequence of a micro-batch
    assert kind in PADDED or digests[0] == digests[1] == digests[2]
    for run in runs[1:]:
        must_agree(run, runs[0])


def test_several_losses_are_summed_by_weight_and_each_is_logged(
    whole: dict[str, Path],
) -> None:
    lines = untimed(whole["arrays"])
    for split in ("train", "eval"):
        found = [line for line in lines if f"{split}/loss" in line]
        assert found
        for line in found:
            parts = line[f"{split}/loss/model"], line[f"{split}/loss/first_class"]
            assert line[f"{split}/loss"] == pytest.approx(parts[0] + 0.5 * parts[1], rel=1e-6)
            assert 0 < parts[1] < 1
    evaluated = [line for line in lines if "eval/loss" in line]
    for line in evaluated:  # of the model's own loss
        assert line["eval/perplexity"] == pytest.approx(math.e ** line["eval/loss/model"])
        assert line.keys() >= {"eval/accuracy"}


def test_two_processes_count_what_one_counts(here: Path, whole: dict[str, Path]) -> None:
    run = together(2, "bigram", here, *HARD["bigram"])
    assert torch.equal(weights(run)["table"], weights(whole["bigram"])["table"])
    for line, other in zip(untimed(run), untimed(whole["bigram"]), strict=True):
        assert line.pop("train/batch_digest", "") == other.pop("train/batch_digest", "")
        assert line == pytest.approx(other, rel=1e-6)


def train_what_is_drawn(directory: Path) -> None:
    """Train on symbols that are numbered in an order drawn anew by each process."""
    load_plugin(PLUGIN)
    base, spec = OBJECTIVES.load("write_pairs"), OBJECTIVES["write_pairs"]

    class Drawn(base):  # type: ignore[misc, valid-type]
        """Learn another order each time, and leave a file."""

        def learn(self, records: Iterable[Records]) -> dict[str, Processor]:
            made = super().learn(records)["symbols"]
            order = secrets.SystemRandom().sample(made.names, len(made.names))
            (directory / f"order-{secrets.token_hex(8)}").write_text(json.dumps(order))
            return {"symbols": type(made)(order)}

    register_objective("write_drawn", model_kind=spec.model_kind, schema=spec.schema)(Drawn)
    train(task("pairs", directory, *DRAWN))


def test_processors_are_learnt_once_by_several_processes(here: Path) -> None:
    for ended in launched(*[(train_what_is_drawn, here)] * 2):
        assert ended.code == 0, ended.stderr
    (order,) = here.glob("order-*")
    for place in (here / "run" / "symbols", here / "run" / "model" / "symbols"):
        assert (place / "symbols.json").read_text() == order.read_text()


@pytest.mark.parametrize(
    ("kind", "metric"), [("pairs", "whole copies"), ("translation", "exact match")]
)
def test_torchrun_trains_a_task(kind: str, metric: str, here: Path, project: Path) -> None:
    file = write_task(kind, here)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = ["-m", "model_foundry", "train", str(file), *SGD, "--plugin", str(PLUGIN)]
    environment = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, *command], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"validation {metric}") == 1
    child(kind, here / "alone", *SGD, *sizes(4, evaluated=8))
    must_agree(here / "run", here / "alone" / "run")


@pytest.fixture
def stopped(here: Path) -> Path:
    """The directory of a run of its own table that was killed after its first checkpoint."""
    shutil.copy(here.parent / "table.csv", here / "table.csv")
    child("arrays", here, fault=Fault("step 6 made"), code=KILLED)
    return here


def relabel(file: Path, names: dict[str, str]) -> None:
    with file.open(newline="") as opened:
        first, *rows = csv.reader(opened)
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([first, *((x, y, names[k]) for x, y, k in rows)])


@pytest.mark.parametrize(
    ("names", "changed"),
    [
        ({"cat": "yak", "dog": "dog", "owl": "owl"}, "labels"),  # another, of another number
        ({"cat": "dog", "dog": "cat", "owl": "owl"}, "training data"),  # the same, exchanged
        ({"cat": "cat", "dog": "dog", "owl": "dog"}, "training data"),  # one less
    ],
)
def test_other_labels_are_refused_on_resume(
    names: dict[str, str], changed: str, stopped: Path
) -> None:
    relabel(stopped / "table.csv", names)
    before = sorted((stopped / "run").rglob("*"))
    err = child("arrays", stopped, code=5)
    assert err.count("error: ") == 1 and changed in err.split("error: ")[1]
    assert sorted((stopped / "run").rglob("*")) == before


def test_another_saved_processor_is_refused_on_resume(stopped: Path) -> None:
    checkpoint = step_directories(stopped / "run" / "checkpoints")[-1]
    aside = stopped / "aside"
    shutil.copytree(checkpoint, aside)
    (aside / "manifest.json").unlink()
    (aside / "labels" / "labels.json").write_text(json.dumps({"labels": ["owl", "dog", "cat"]}))
    with commit_directory(checkpoint) as place:  # whole, but not what the run has saved
        shutil.copytree(aside, place, dirs_exist_ok=True)
    err = child("arrays", stopped, code=5)
    assert err.count("error: ") == 1 and "labels: SHA-256" in err


def test_a_damaged_processor_is_found(stopped: Path) -> None:
    for checkpoint in step_directories(stopped / "run" / "checkpoints"):
        (checkpoint / "labels" / "labels.json").write_text('{"labels": ["cat"]}')
    err = child("arrays", stopped, code=4)
    assert (err.count("error: ") == 1 and "step 4 is missing" in err) or "damaged" in err


def load(directory: Path) -> None:
    load_model(directory)


def test_a_model_of_a_plugin_needs_it(whole: dict[str, Path]) -> None:
    for kind in ("arrays", "pairs", "bigram"):
        err = in_child(load, whole[kind], code=2).stderr
        [line] = [line for line in err.splitlines() if line.startswith("error: ")]
        assert PLUGIN.name in line and "--plugin" in line, (kind, line)


def test_no_file_of_the_package_names_a_task(project: Path) -> None:
    names = ("classify_arrays", "array_classifier", "perceptron", "write_pairs")
    names += ("whole_copies", "smoothed", "bigram", "first_class")
    named = [
        f"{path}: {name}"
        for path in (project / "model_foundry").rglob("*.py")
        for name in names
        if f'"{name}"' in path.read_text(encoding="utf-8")
    ]
    assert named == []
