"""Tasks that the package does not know, brought by the plugin `tests/tasks.py`, by every command.

A classifier of rows of a table, an encoder-decoder that copies sequences, and a model of counts.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from model_foundry.architectures import BaseModel
from model_foundry.config import load_config
from model_foundry.model import load_model
from model_foundry.objectives.language import text_splits
from model_foundry.objectives.preparation import prepare
from model_foundry.training.checkpoint.choice import step_directories
from model_foundry.training.checkpoint.state_file import read_state
from model_foundry.training.metrics_log import read_metrics
from tests.task_runs import foundry, tasks_loaded, write_data, write_task

KINDS = ("arrays", "parquet", "pairs", "bigram")
LONG = {
    "arrays": ("max_steps=60", "save_steps=10", "eval_steps=10", "save_total_limit=2"),
    "pairs": ("max_steps=150", "save_steps=50", "eval_steps=50", "per_device_train_batch_size=32"),
    "bigram": ("eval_steps=4",),
}
PLACES = {"arrays": "labels", "pairs": "symbols", "bigram": "tokenizer"}


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with the data; the plugin is loaded."""
    directory = tmp_path_factory.mktemp("tasks")
    write_data(directory)
    with tasks_loaded():
        yield directory


class Trained(NamedTuple):
    """A finished run of `foundry train`."""

    run: Path
    file: Path
    out: str
    err: str

    @property
    def log(self) -> list[dict[str, Any]]:
        return read_metrics(self.run / "metrics.jsonl")

    def evaluated(self, name: str) -> dict[int, float]:
        return {line["step"]: line[name] for line in self.log if name in line}


@pytest.fixture(scope="module")
def trained(place: Path) -> dict[str, Trained]:
    """A run of each kind, long enough to learn."""
    runs = {}
    for kind in KINDS:
        known, directory = "arrays" if kind == "parquet" else kind, place / kind
        directory.mkdir()
        data = [f"data.train={place / 'table.parquet'}"] if kind == "parquet" else []
        long = [f"training.{setting}" for setting in LONG[known]]
        file = write_task(known, directory, *data, *long)
        code, out, err = foundry("train", file)
        assert code == 0, err
        runs[kind] = Trained(directory / "run", file, out, err)
    return runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "metric", "least"),
    [("arrays", "accuracy", 0.9), ("parquet", "accuracy", 0.9), ("pairs", "whole_copies", 0.5)],
)
def test_a_task_is_learned(
    kind: str, metric: str, least: float, trained: dict[str, Trained]
) -> None:
    run = trained[kind]
    *_, (step, value) = run.evaluated(f"eval/{metric}").items()
    assert value > least
    name = metric.replace("_", " ")
    assert re.search(rf"^validation {name} +{value:.4f}$", run.out, re.M)
    assert re.search(rf"^validation loss +{run.evaluated('eval/loss')[step]:.4f}$", run.out, re.M)
    assert f"step {step}/{step}  eval {name} {value:.4f}  loss " in run.err


@pytest.mark.slow
def test_the_units_of_a_task_are_logged_and_shown(trained: dict[str, Trained]) -> None:
    arrays, pairs = trained["arrays"].log[0], trained["pairs"].log[0]
    assert arrays.keys() >= {"train/loss", "train/learning_rate", "train/examples_per_second"}
    assert pairs.keys() >= {"train/loss", "train/symbols_seen", "train/symbols_per_second"}
    seen = [
        key for line in trained["arrays"].log for key in line if re.search("token|word|seen", key)
    ]
    assert seen == []
    assert " examples/s " in trained["arrays"].err and " symbols/s " in trained["pairs"].err
    assert "train: 120 examples\n" in trained["arrays"].err
    assert re.search(r"train: \d+ examples, [\d,]+ symbols\n", trained["pairs"].err)


@pytest.mark.slow
def test_a_table_in_parquet_is_the_one_in_csv(trained: dict[str, Trained]) -> None:
    digests = [[line.get("train/batch_digest") for line in trained[k].log] for k in KINDS[:2]]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("kind", ["arrays", "pairs"])
def test_commands_before_a_training_show_the_task(kind: str, tmp_path: Path, place: Path) -> None:
    directory = place / f"before-{kind}"
    directory.mkdir()
    file = write_task(kind, directory)
    code, out, err = foundry("validate", file)
    assert (code, "no faults found" in out) == (0, True), err
    assert re.search(r"parameters with these data", out) and "train: " in out
    code, out, err = foundry("prepare", file)
    assert code == 0, err
    assert f"{PLACES[kind]}: " in out and "validation: " in out
    assert "train: " not in err and "validation: " not in err
    assert list(directory.iterdir()) == [file]


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("objectives", {"classify_arrays", "write_pairs"}),
        ("architectures", {"perceptron", "writer", "bigram"}),
        ("losses", {"model", "smoothed", "z_loss"}),
        ("metrics", {"accuracy", "loss", "whole_copies"}),
    ],
)
def test_what_a_plugin_brings_is_listed(what: str, names: set[str]) -> None:
    code, out, err = foundry("list", what)
    assert code == 0, err
    assert names <= {line.split()[0].rstrip(":") for line in out.splitlines() if line[0] != " "}


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_the_best_checkpoint_is_chosen_by_its_metric_and_kept(
    metric: str, trained: dict[str, Trained], place: Path
) -> None:
    run = trained["arrays"]
    if metric == "loss":  # of a model that gets worse
        directory = place / "worse"
        directory.mkdir()
        worse = ["learning_rate=3.0", "lr_scheduler_type=constant", *LONG["arrays"]]
        worse += ["metric_for_best_model=loss"]
        file = write_task("arrays", directory, *(f"training.{setting}" for setting in worse))
        code, out, err = foundry("train", file)
        assert code == 0, err
        run = Trained(directory / "run", file, out, err)
    values = run.evaluated(f"eval/{metric}")
    step = (max if metric == "accuracy" else min)(
        values, key=values.__getitem__
    )  # the first of these
    assert step < 50, "the best must not be one of the two newest"
    kept = step_directories(run.run / "checkpoints")
    assert [path.name for path in kept] == [f"step-{n:08d}" for n in (step, 60)]
    best = read_state(kept[-1]).counters.best
    assert best is not None
    assert (best.metric, best.value, best.step) == (metric, values[step], step)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["arrays", "pairs"])
def test_processors_are_saved_with_run_checkpoint_and_model(
    kind: str, trained: dict[str, Trained]
) -> None:
    run, role = trained[kind].run, PLACES[kind]
    newest = step_directories(run / "checkpoints")[-1]
    saved = [
        (place / role / f"{role}.json").read_bytes()
        for place in (run.parent / "run", newest, run / "model")
    ]
    assert saved[0] == saved[1] == saved[2]
    names = json.loads(saved[0])
    expected: Any = list("abcdef")
    if kind == "arrays":
        expected = {"labels": ["cat", "dog", "owl"]}
    assert names == expected


def inputs_of(kind: str) -> dict[str, torch.Tensor]:
    if kind == "arrays":
        return {"features": torch.tensor([[2.0, 0.0], [-1.0, 2.0]])}
    ids = torch.tensor([[2, 3, 4, 1]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    return inputs if kind == "pairs" else {"input_ids": ids}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["arrays", "pairs", "bigram"])
def test_the_final_model_gives_the_logits_of_the_last_checkpoint(
    kind: str, trained: dict[str, Trained]
) -> None:
    run = trained[kind].run
    models = [run / "model", step_directories(run / "checkpoints")[-1]]
    with torch.no_grad():
        logits = [load_model(path)(**inputs_of(kind)).logits for path in models]
    assert torch.equal(*logits)
    if kind == "arrays":  # cat and dog, by their centres
        assert logits[0].argmax(-1).tolist() == [0, 1]


@pytest.mark.slow
def test_the_bigram_has_counted_one_pass(trained: dict[str, Trained], place: Path) -> None:
    run = trained["bigram"]
    config = load_config(run.file)
    examples = text_splits(prepare(config))["train"]
    stream = examples.stream
    tokens = [int(token) for token in stream.tokens[: len(stream)]]
    blocks = [tokens[at : at + 16] for at in range(0, len(tokens) - 15, 16)]
    expected = Counter(pair for block in blocks for pair in itertools.pairwise(block))
    table = load_model(run.run).table
    assert len(blocks) % 16, "the last step must reach beyond the pass"
    found = {(a, b): int(table[a, b]) for a, b in table.nonzero().tolist()}
    assert found == dict(expected)
    last = [line for line in run.log if "train/tokens_seen" in line][-1]
    seen = {unit: last[f"train/{unit}_seen"] for unit in examples.units}
    assert seen == examples.read([(0, index) for index in range(len(examples))]).counts
    assert seen["tokens"] == len(blocks) * 16


@pytest.mark.slow
def test_counted_passes_are_not_extended(trained: dict[str, Trained]) -> None:
    run = trained["bigram"]
    before = load_model(run.run).table
    code, _, err = foundry("train", run.file, "training.epochs=2", "--extend")
    assert code == 5 and err.splitlines()[-1].startswith("error: --extend: 'bigram' has counted")
    assert torch.equal(load_model(run.run).table, before)


@pytest.mark.slow
def test_the_bigram_generates(trained: dict[str, Trained]) -> None:
    code, out, err = foundry("generate", trained["bigram"].run, "--prompt", "The", "--number", "2")
    assert code == 0, err
    assert out.count("The") >= 2
    code, _, err = foundry("generate", trained["arrays"].run)
    assert code == 2 and err.splitlines()[-1].startswith("error: 'perceptron' is no language model")


def model_in(directory: Path) -> BaseModel:
    return load_model(directory)
