"""The limits of size: short files, short functions, few parameters, plain docstrings."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

import model_foundry

MAX_FILE, MAX_FUNCTION, MAX_MEDIAN, MAX_P90 = 300, 50, 8, 20  # lines
MAX_PARAMETERS = 8
WIDE = {  # start of the file's path, function: may take more parameters
    ("architectures/modeling/", "__init__"): "a configuration of transformers",
    ("architectures/modeling/", "forward"): "a model of transformers",
    ("architectures/registration.py", "register_architecture"): "documented API",
    ("objectives/registration.py", "register_objective"): "documented API",
    ("cli/commands.py", "generate"): "a command",
    ("cli/train_command.py", "train"): "a command",
}
OPENINGS = ("What", "How", "Which", "Where", "Whether")  # of no docstring

Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def parameters(function: Function) -> int:
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def is_wide(place: str, function: Function, used: set[tuple[str, str]]) -> bool:
    """Return whether a function takes too many parameters; note the exception that it needs."""
    if parameters(function) <= MAX_PARAMETERS:
        return False
    allowed = {key for key in WIDE if place.startswith(key[0]) and function.name == key[1]}
    used |= allowed
    return not allowed


def breaches(root: Path) -> Iterator[str]:
    """Yield every breach in the package at `root`, a line each."""
    sizes: list[int] = []
    used: set[tuple[str, str]] = set()
    for path in sorted(root.rglob("*.py")):
        text, place = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        if (length := len(text.splitlines())) > MAX_FILE:
            yield f"{place}: {length} lines"
        for node in ast.walk(ast.parse(text)):
            name = f"{place}:{getattr(node, 'lineno', 1)} {getattr(node, 'name', '')}".strip()
            if isinstance(node, Function):
                sizes.append(lines(node))
                if sizes[-1] > MAX_FUNCTION:
                    yield f"{name}: {sizes[-1]} lines"
                if is_wide(place, node, used):
                    yield f"{name}: {parameters(node)} parameters"
            if isinstance(node, Function | ast.Module | ast.ClassDef):
                first = (ast.get_docstring(node) or "").partition(" ")[0].rstrip(",:")
                if first in OPENINGS:
                    yield f"{name}: its docstring begins with {first!r}"
    sizes = sorted(sizes) or [0]
    median, p90 = statistics.median(sizes), sizes[int(len(sizes) * 0.9)]
    if median > MAX_MEDIAN or p90 > MAX_P90:
        yield f"functions: median {median} lines (at most {MAX_MEDIAN}), p90 {p90} ({MAX_P90})"
    for place, function in WIDE.keys() - used:
        yield f"WIDE: {place} {function} is no longer needed"


def test_sizes_are_within_their_limits() -> None:
    found = list(breaches(Path(model_foundry.__file__).parent))
    assert not found, "\n".join([f"{len(found)} breaches:", *found])


BODY = "    pass\n" * 50


@pytest.mark.parametrize(
    ("source", "breach"),
    [
        ("#\n" * 301, "a.py: 301 lines"),
        (f"class A:\n  def f(self):\n{BODY}", "a.py:2 f: 51 lines"),
        ("def f(a, b, /, c, d, *, e, f, g, h, i): ...", "a.py:1 f: 9 parameters"),
        ('"""How it is done."""', "a.py:1: its docstring begins with 'How'"),
        ('class A:\n  """Whether, or not."""', "a.py:1 A: its docstring begins with 'Whether'"),
        (f"def f():\n{BODY[:180]}", "functions: median 21 lines (at most 8), p90 21 (20)"),
        ("", "WIDE: cli/commands.py generate is no longer needed"),
    ],
)
def test_a_breach_is_seen(source: str, breach: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(source)
    assert breach in list(breaches(tmp_path))
