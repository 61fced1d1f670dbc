"""The rooms of the package stand in one order: each imports only those before it, and itself.

A room is a file or a folder right below the package. Imports inside functions count, and so do
those that only a type checker sees.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import model_foundry
from model_foundry.config import ARCHITECTURES

ROOMS = (
    *("errors", "registry", "foundation", "synthetic_language", "config"),
    *("architectures", "interventions", "data", "data_collators", "generation", "tokenizer"),
    *("evaluation", "objectives", "training", "model", "run_reports", "experiment"),
    *("corpus_report", "planning", "doctor", "cli", "__init__", "__main__"),
)
LIGHT = ("errors", "registry", "synthetic_language", "config", "run_reports")
HEAVY = {"torch", "transformers", "datasets", "accelerate"}
# transformers cannot be installed without huggingface_hub.
EXPORTABLE = {"torch", "transformers", "huggingface_hub"} | sys.stdlib_module_names


def imports_of(tree: ast.AST, package: str, *, within: bool = False) -> Iterator[str]:
    """Yield in absolute dotted names what a file of `package` imports.

    Args:
        within: whether relative imports from its own folder count too.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level == 1 and "." in package and not within:
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


def faults_of_import(room: str, place: str, target: str) -> Iterator[str]:
    """Yield what is wrong with a file in `room`, at the dotted `place`, importing `target`."""
    top, _, below = target.partition(".")
    other = below.partition(".")[0]
    if place.startswith("architectures.modeling") and top not in EXPORTABLE:
        yield "is saved with the model, which is read without this package"
    if top in HEAVY and room in LIGHT:
        yield "is heavy, in a room that needs no torch"
    if top == "model_foundry" and other in ROOMS and ROOMS.index(other) > ROOMS.index(room):
        yield "is a later room"


def faults(root: Path) -> list[str]:
    """Return every breach of the rules in the package at `root`, a line each."""
    found, known = [], set(ARCHITECTURES)
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        room, place, tree = parts[0], ".".join(parts), ast.parse(path.read_text(encoding="utf-8"))
        if room not in ROOMS:
            found.append(f"{place}: has no place in the order of rooms")
            continue
        for target in imports_of(tree, ".".join(("model_foundry", *parts[:-1]))):
            found += [f"{place}: {target} {law}" for law in faults_of_import(room, place, target)]
        if room != "architectures" and place != "config.built_in.architectures":
            names = known & set(constants_of(tree))
            found += [
                f"{place}: names the architecture {name!r}" for name in sorted(map(str, names))
            ]
    return found


def test_every_file_keeps_to_the_order() -> None:
    assert faults(Path(model_foundry.__file__).parent) == []


def modules(root: Path) -> dict[str, Path]:
    """Return the modules of the package at `root` by their dotted names."""
    files = {
        ".".join(p.relative_to(root.parent).with_suffix("").parts): p for p in root.rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for name, path in files.items()}


def circle(root: Path) -> list[str] | None:
    """Return a circle of modules that import each other; None: there is none."""
    known, graph = modules(root), {}
    for name, path in known.items():
        package = name if path.stem == "__init__" else name.rpartition(".")[0]
        targets = set()
        for target in imports_of(ast.parse(path.read_text(encoding="utf-8")), package, within=True):
            targets.add(target if target in known else target.rpartition(".")[0])
        graph[name] = (targets & known.keys()) - {name, root.name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def test_no_modules_import_each_other_in_a_circle(tmp_path: Path) -> None:
    assert circle(Path(model_foundry.__file__).parent) is None
    place = tmp_path / "package"
    place.mkdir()
    (place / "a.py").write_text("def f():\n    from package import b")
    (place / "b.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import package.a"
    )
    assert set(circle(place) or ()) == {"package.a", "package.b"}


def test_the_root_holds_rooms_and_six_modules() -> None:
    root = Path(model_foundry.__file__).parent
    rooms = {p.name for p in root.iterdir() if p.is_dir() and p.name != "__pycache__"}
    files = {p.stem for p in root.glob("*.py")}
    assert rooms | files == set(ROOMS)
    assert len(files) <= 6


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("foundation/locks", "import model_foundry.config", "config is a later room"),
        ("config/files", "def f():\n  from model_foundry import data", "data is a later room"),
        ("config/files", "from ..training.loop import Loop", "Loop is a later room"),
        ("data/tokens/a", "from model_foundry.tokenizer.bpe import x", "is a later room"),
        ("registry", "if TYPE_CHECKING:\n  from model_foundry.config import x", "is a later room"),
        ("synthetic_language/grammar", "import torch.nn", "torch.nn is heavy"),
        ("config/files", "def f():\n  from transformers import x", "transformers.x is heavy"),
        ("architectures/modeling/a", "from model_foundry.errors import E", "saved with the model"),
        ("architectures/modeling/a", "import numpy", "is saved with the model"),
        ("architectures/modeling/a", "from ..base import x", "is saved with the model"),
        (
            "architectures/modeling/a",
            "from model_foundry.architectures.modeling.b import x",
            "is saved with the model",
        ),
        ("training/loop", "if name == 'lstm': pass", "names the architecture 'lstm'"),
        ("attic", "", "attic: has no place in the order"),
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
        ("training/loop", "from model_foundry.data import x\nimport torch\nfrom .state import y"),
        ("tokenizer/bpe", "from model_foundry.data.corpus.splits import Split"),
        ("objectives/base", "from model_foundry.data_collators import x"),
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
