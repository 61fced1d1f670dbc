"""Explanations of PyYAML's errors in plain words: the place that is wrong, and a remedy."""

import re
from typing import Any

LIKE_A_KEY = re.compile(r"\s*(?:- +)*[\w.-]+:(?![ \t]|$)\S")  # a colon without a space behind it
CLOSING = {"[": "]", "{": "}"}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _explain_colon(lines: list[str], row: int, column: int) -> tuple[int, int, str]:
    """Explain a colon that makes no key: the second of a line, or one below a value."""
    if re.search(r":\s", lines[row][:column]):
        return row, column, "the value contains a colon; put it in quotes"
    above = next((number for number in reversed(range(row)) if lines[number].strip()), row)
    if LIKE_A_KEY.match(lines[above]):
        return above, _indent(lines[above]), "a space is missing after the colon"
    if _indent(lines[row]) > _indent(lines[above]):
        hint = f"line {above + 1} has a value, so this line must be indented like it"
        return row, column, hint
    return row, column, "this colon follows no key; put the value in quotes"


def _explain_block(lines: list[str], row: int, found: str) -> str:
    if "scalar" in found:
        return "there is more after the closing quote; put the whole value in quotes"
    levels: list[int] = []  # indents of the blocks that are open above the line
    for line in lines[:row]:
        if line.strip() and not line.lstrip().startswith("#"):
            levels = [level for level in levels if level < _indent(line)] + [_indent(line)]
    here, known = _indent(lines[row]), " or ".join(map(str, levels)) or "0"
    if here in levels:
        return "a list and keys cannot be mixed at one indent; indent one of them further"
    return f"this line is indented by {here}, but the sections above by {known}; align it with one"


def explain(text: str, error: Any) -> tuple[int, int, str]:
    """Return the line and column that are wrong, counted from 0, and a message.

    Args:
        error: a `MarkedYAMLError` with a mark.
    """
    lines = [*text.splitlines(), ""]
    problem, context = str(error.problem), str(error.context)
    mark, begin = error.problem_mark, error.context_mark or error.problem_mark
    there, here = (begin.line, begin.column), (mark.line, mark.column)
    first = lines[begin.line][begin.column : begin.column + 1]
    if "'\\t' that cannot" in problem:
        return *here, "indent with spaces, not with tabs"
    if "cannot start any token" in problem or "an alias" in context or "block scalar" in context:
        return *there, f"a value cannot begin with {first}; put it in quotes"
    if "while scanning a quoted scalar" in context:
        return *there, "this quote is never closed"
    if lines[mark.line][max(0, mark.column - 1) : mark.column + 1] == "${":
        return mark.line, mark.column - 1, "within braces and brackets, put ${...} in quotes"
    if "but found '?'" in problem:
        return *here, "within braces and brackets, put ??? in quotes"
    if "while parsing a flow" in context and first in CLOSING:
        opened = f"the {first} is in line {begin.line + 1}, column {begin.column + 1}"
        return *here, f"a comma or the closing {CLOSING[first]} is missing; {opened}"
    if "could not find expected ':'" in problem:
        missing = LIKE_A_KEY.match(lines[begin.line])
        what = "space is missing after the colon" if missing else "colon is missing after the key"
        return *there, f"a {what}"
    if "mapping values are not allowed" in problem:
        return _explain_colon(lines, *here)
    if problem.startswith("expected <block end>"):
        return *here, _explain_block(lines, mark.line, problem)
    if "double-quoted scalar" in context:
        return *here, "write \\\\ for a backslash, or use single quotes"
    return *here, f"{context}, {problem}" if problem.startswith("but ") else problem
