"""The house has floors: who may import whom, read from the import statements, nested ones included.

A room is a file or a folder right below the package. A file imports lower floors and its own room.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import model_foundry
from model_foundry.config import ARCHITECTURES

FLOORS: list[set[str]] = [
    {
        *("registry", "errors", "labels", "failpoints", "signals", "locks", "durable"),
        *("cache_entry", "reproducibility", "foreign", "machine", "processes", "strict_json"),
        *("environment_variables", "tested_versions"),
    },
    {"config", "run_directory", "language"},
    {"interventions", "architectures", "data", "tokenizer", "data_collators", "objectives"},
    {"model", "generation", "evaluation", "preparation"},
    {"training"},
    {
        *("resolution", "continuation", "accounting", "checkpointing", "attempt"),
        *("outcome", "experiment", "equivalence", "trial", "doctor"),
    },
    {"cli"},
    {"__main__", "__init__"},
]
# The only ways from one room to another of its floor.
ARROWS = {
    *((room, "errors") for room in ("registry", "signals", "locks", "durable", "foreign")),
    ("processes", "errors"),
    ("environment_variables", "errors"),
    ("reproducibility", "errors"),
    ("locks", "signals"),
    ("durable", "locks"),
    ("durable", "failpoints"),
    *(("cache_entry", room) for room in ("errors", "durable", "locks")),
    ("run_directory", "config"),
    ("data", "interventions.chain"),
    *(
        ("tokenizer", f"data.{file}")
        for file in ("encoding", "file_hashes", "splits", "text_sample", "workers")
    ),
    ("tokenizer", "interventions.ai"),
    ("objectives", "data_collators"),
    ("evaluation", "generation"),
    ("preparation", "evaluation.comparability"),
    ("accounting", "continuation"),
    ("checkpointing", "continuation"),
    *(("attempt", room) for room in ("continuation", "checkpointing")),
    *(("experiment", room) for room in ("resolution", "accounting", "continuation", "attempt")),
    *(("outcome", room) for room in ("continuation", "attempt")),
    ("experiment", "outcome"),
    *(("trial", room) for room in ("resolution", "continuation", "attempt")),
    *(("doctor", room) for room in ("continuation", "attempt", "equivalence", "trial")),
}
HEAVY = {"torch", "transformers", "datasets", "accelerate"}
# transformers cannot be installed without huggingface_hub.
EXPORTABLE = {"torch", "transformers", "huggingface_hub"} | sys.stdlib_module_names


def imports_of(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield in absolute dotted names what a file of `package` imports from outside its folder."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level == 1 and "." in package:
                continue
            outside = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*outside, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def constants_of(tree: ast.AST) -> Iterator[object]:
    """Yield the constants of a file that are no docstrings."""
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in said:
            yield node.value


def floor_of(room: str) -> int:
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), -1)


def faults_of_import(room: str, place: str, target: str) -> Iterator[str]:
    """Yield what is wrong with a file in `room`, at the dotted `place`, importing `target`."""
    top, _, below = target.partition(".")
    other, own_floor = below.partition(".")[0], floor_of(room)
    if place.startswith("architectures.modeling") and top not in EXPORTABLE:
        yield "is saved with the model, which is read without this package"
    if top in HEAVY and own_floor == 1:
        yield "is heavy, on a floor that knows no torch"
    if top != "model_foundry" or other == room:
        return
    if floor_of(other) > own_floor:
        yield "is on a higher floor"
    elif floor_of(other) == own_floor and not any(
        room == start and f"{below}.".startswith(f"{end}.") for start, end in ARROWS
    ):
        yield "is another room of the same floor"


def faults(root: Path) -> list[str]:
    """Return every breach of the rules in the package at `root`, a line each."""
    found, known = [], set(ARCHITECTURES)
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        room, place, tree = parts[0], ".".join(parts), ast.parse(path.read_text(encoding="utf-8"))
        if floor_of(room) < 0:
            found.append(f"{place}: has no floor")
            continue
        for target in imports_of(tree, ".".join(("model_foundry", *parts[:-1]))):
            found += [f"{place}: {target} {law}" for law in faults_of_import(room, place, target)]
        if room != "architectures" and place != "config.specs":
            names = known & set(constants_of(tree))
            found += [
                f"{place}: names the architecture {name!r}" for name in sorted(map(str, names))
            ]
    return found


def test_every_file_keeps_to_its_floor() -> None:
    assert faults(Path(model_foundry.__file__).parent) == []


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("durable", "import model_foundry.config", "config is on a higher floor"),
        ("config/files", "def f():\n  from model_foundry import data", "data is on a higher floor"),
        ("config/files", "from ..training.loop import Loop", "Loop is on a higher floor"),
        ("language/grammar", "from model_foundry import config", "another room of the same floor"),
        ("data/packing", "from model_foundry.tokenizer.bpe import x", "another room of the same"),
        ("tokenizer/bpe", "from model_foundry.data import packing", "another room of the same"),
        ("language/grammar", "import torch.nn", "torch.nn is heavy"),
        ("config/laws", "def f():\n  from transformers import x", "transformers.x is heavy"),
        (
            "architectures/modeling/a",
            "from model_foundry.errors import E",
            "is saved with the model",
        ),
        ("architectures/modeling/a", "import numpy", "is saved with the model"),
        ("architectures/modeling/a", "from ..base import x", "is saved with the model"),
        (
            "architectures/modeling/a",
            "from model_foundry.architectures.modeling.b import x",
            "is saved with the model",
        ),
        ("signals", "from model_foundry.locks import exclusive", "another room of the same"),
        ("attempt", "import model_foundry.experiment", "another room of the same"),
        ("training/loop", "if name == 'lstm': pass", "names the architecture 'lstm'"),
        ("attic", "", "attic: has no floor"),
    ],
)
def test_a_breach_is_seen(tmp_path: Path, file: str, source: str, fault: str) -> None:
    path = tmp_path / f"{file}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    (line,) = faults(tmp_path)
    assert fault in line
    assert line.startswith(file.replace("/", "."))


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("training/loop", "from model_foundry.model import x\nimport torch\nfrom .state import y"),
        ("tokenizer/bpe", "from model_foundry.data.splits import Split"),
        ("objectives", "from model_foundry.data_collators import x"),
        ("architectures/modeling/a", "import math, torch\nfrom .b import x\nfrom . import b"),
        ("config/sections", 'x: str\n"""For gpt2."""\n"lstm"'),
        ("architectures/rnn", "name = 'lstm'"),
    ],
)
def test_what_is_allowed_is_no_breach(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / f"{file}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    assert faults(tmp_path) == []
