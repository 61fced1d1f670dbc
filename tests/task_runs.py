"""Experiments on the tasks of `tests/tasks.py` and on sequences: data, settings, and runs of them.

The plugin is loaded as `--plugin` loads it, and forgotten after the test that needed it.
"""

import copy
import csv
import io
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from model_foundry.cli import commands
from model_foundry.cli.dispatch import run
from model_foundry.config import (
    ARCHITECTURES,
    LOSSES,
    METRICS,
    OBJECTIVES,
    ExperimentConfig,
    validate,
)
from model_foundry.experiment.train import train
from model_foundry.foundation.failpoints import watching
from model_foundry.foundation.plugins import LOADED_PLUGINS, load_plugin
from model_foundry.registry import Registry
from tests.children import Fault, striking
from tests.experiments import apply_override

PLUGIN = Path(__file__).with_name("tasks.py")
REGISTRIES: tuple[Any, ...] = (ARCHITECTURES, OBJECTIVES, LOSSES, METRICS)
CENTRES = {"cat": (2.0, 0.0), "dog": (-1.0, 2.0), "owl": (-1.0, -2.0)}
Row = tuple[float, float, str]

FAST = {"learning_rate": 0.02, "warmup_steps": 2, "logging_steps": 5, "save_steps": 4}
SMALL = {"layers": 1, "hidden_size": 16, "attention_heads": 2, "attention_dropout": 0.0}
TASKS: dict[str, dict[str, Any]] = {
    "arrays": {
        "data": {"train": "table.csv", "validation_fraction": 0.2},
        "model": {"architecture": "perceptron", "perceptron": {"hidden_size": 16}},
        "training": {
            **{"objective": "classify_arrays", "max_steps": 18, "per_device_train_batch_size": 8},
            "classify_arrays": {"features": ["x", "y"], "label": "kind"},
            **FAST,
        },
    },
    "pairs": {
        "data": {"train": "pairs.tsv", "validation_fraction": 0.1, "shared_documents": "drop"},
        "model": {"architecture": "writer", "writer": {"hidden_size": 32}},
        "training": {
            **{"objective": "write_pairs", "max_steps": 18, "per_device_train_batch_size": 8},
            "write_pairs": {},
            **FAST,
        },
    },
    "bigram": {
        "data": {"train": {"language": {"sentences": 120}}, "max_sequence_length": 16},
        "tokenizer": {"tokenizer_type": "character"},
        "model": {"architecture": "bigram", "bigram": {"added": 0.1}},
        "training": {
            **{"objective": "causal_lm", "epochs": 1, "per_device_train_batch_size": 16},
            **{"logging_steps": 5, "save_steps": 4},
        },
    },
    # of the package itself
    "denoising": {
        "data": {"train": {"language": {"sentences": 200}}, "max_sequence_length": 16},
        "tokenizer": {"tokenizer_type": "bpe", "vocab_size": 300},
        "model": {"architecture": "t5", "transformer": SMALL | {"dropout": 0.0}},
        "training": {
            **{"objective": "span_denoising", "max_steps": 18, "per_device_train_batch_size": 8},
            **FAST,
        },
    },
    "translation": {
        "data": {
            **{"train": "pairs.tsv", "validation_fraction": 0.1, "shared_documents": "drop"},
            "max_sequence_length": 16,
        },
        "tokenizer": {"tokenizer_type": "word", "vocab_size": 11},
        "model": {"architecture": "transformer", "backbone": SMALL | {"dropout": 0.0}},
        "training": {
            **{"objective": "seq2seq_lm", "max_steps": 18, "per_device_train_batch_size": 8},
            **{"seq2seq_lm": {"label_smoothing": 0.1}, "metrics": ["exact_match", "loss"]},
            **FAST,
        },
    },
}


@contextmanager
def tasks_loaded() -> Iterator[None]:
    """Load the plugin for the time of the outermost block; its names are unknown afterwards."""
    if str(PLUGIN) in LOADED_PLUGINS:
        yield
        return
    before = [names_of(registry) for registry in REGISTRIES]
    load_plugin(PLUGIN)
    try:
        yield
    finally:
        for registry, names in zip(REGISTRIES, before, strict=True):
            for name in names_of(registry) - names:
                registry.remove(name)
        for module in [name for name in sys.modules if name.startswith("foundry_plugin_tasks_")]:
            del sys.modules[module]
        LOADED_PLUGINS.pop(str(PLUGIN), None)


def names_of(registry: Registry[Any]) -> set[str]:
    return {spec.name for spec in registry.known()}


def foundry(command: str, *arguments: str | Path) -> tuple[int, str, str]:
    """Run a command with the plugin in this process; exit code, standard output and error."""
    out, err = io.StringIO(), io.StringIO()
    given = ["foundry", command, *map(str, arguments), "--plugin", str(PLUGIN)]
    with (
        tasks_loaded(),
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", given)
        patch.setattr(commands.options, "debug", False)
        code = run()
    return code, out.getvalue(), err.getvalue()


def rows(number: int, *, seed: int = 0) -> list[Row]:
    """Draw rows of three classes, which barely overlap."""
    draw = random.Random(seed)
    kinds = [draw.choice(sorted(CENTRES)) for _ in range(number)]
    return [(*(draw.gauss(c, 0.6) for c in CENTRES[kind]), kind) for kind in kinds]  # type: ignore[misc]


def write_data(directory: Path) -> None:
    """Write `table.csv`, the same `table.parquet`, and `pairs.tsv` of sequences and copies."""
    table = rows(150)
    with (directory / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("x", "y", "kind"), *table])
    columns = dict(zip(("x", "y", "kind"), zip(*table, strict=True), strict=True))
    pq.write_table(
        pa.table({n: list(values) for n, values in columns.items()}), directory / "table.parquet"
    )
    draw = random.Random(1)
    texts = [" ".join(draw.choices("abcdef", k=draw.randint(1, 6))) for _ in range(300)]
    lines = ["source\ttarget", *(f"{text}\t{text}" for text in texts)]
    (directory / "pairs.tsv").write_text("\n".join(lines) + "\n")


def raw_task(kind: str, directory: Path, *overrides: str) -> dict[str, Any]:
    """Return the settings of a key of `TASKS`, whose data stand in `directory` or above it."""
    raw: dict[str, Any] = {"experiment_name": kind, "output_dir": str(directory / "run")}
    raw |= copy.deepcopy(TASKS[kind])
    if isinstance(raw["data"]["train"], str):
        place = next(p for p in (directory, *directory.parents) if (p / "table.csv").exists())
        raw["data"]["train"] = str(place / raw["data"]["train"])
    for override in overrides:
        apply_override(raw, override)
    return raw


def write_task(kind: str, directory: Path, *overrides: str) -> Path:
    """Write the file of an experiment into `directory`; return its path."""
    file = directory / f"{kind}.yaml"
    file.write_text(yaml.safe_dump(raw_task(kind, directory, *overrides)))
    return file


def task(kind: str, directory: Path, *overrides: str) -> ExperimentConfig:
    """Return an experiment; the plugin must be loaded."""
    directory.mkdir(exist_ok=True)
    return validate(raw_task(kind, directory, *overrides), "task")


def train_task(
    kind: str, directory: Path, overrides: tuple[str, ...], fault: Fault | None, **options: Any
) -> None:
    """Train in this process, which has not loaded the plugin yet; a fault strikes at its point."""
    load_plugin(PLUGIN)
    with watching(striking(fault)):
        train(task(kind, directory, *overrides), **options)
