"""Explanations of PyYAML's errors: the line that is wrong, and a remedy."""

import re
from typing import Any

LIKE_A_KEY = re.compile(r"\s*(?:- +)*[\w.-]+:(?![ \t]|$)\S")  # a colon without a space behind it


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _open_indents(lines: list[str]) -> list[int]:
    """Return the indents of the blocks that are open after these lines."""
    levels: list[int] = []
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            levels = [level for level in levels if level < _indent(line)] + [_indent(line)]
    return levels


def _of_a_colon(lines: list[str], row: int, column: int) -> tuple[int, str]:
    """Explain a colon that makes no key: the second of a line, or one below a value."""
    above = [number for number in range(row) if lines[number].strip()]
    last = above[-1] if above else None
    if re.search(r":\s", lines[row][:column]):
        return row, "the value has a colon of its own; put it in quotes"
    if last is not None and LIKE_A_KEY.match(lines[last]):
        return last, "a space is missing after the colon"
    if last is not None and _indent(lines[row]) > _indent(lines[last]):
        deep, flat = _indent(lines[row]), _indent(lines[last])
        return row, (
            f"this line is indented by {deep} characters, but line {last + 1}, which has a value, "
            f"by {flat}; indent both alike"
        )
    return row, "put the value in quotes"


def _of_a_block(lines: list[str], row: int, found: str) -> str:
    if "scalar" in found:
        return "more stands behind the closing quote; put the whole value in quotes"
    levels, here = _open_indents(lines[:row]), _indent(lines[row])
    if here in levels:
        return "the entries of a list and keys cannot stand side by side; indent one of them"
    known = " or ".join(map(str, levels))
    return f"this line is indented by {here} characters, the open sections above it by {known}"


def explain(text: str, error: Any) -> tuple[int, int, str]:
    """Return the line and column that are wrong, counted from 0, and a hint; '': none is known.

    Args:
        error: a `MarkedYAMLError` with a mark.
    """
    lines = text.splitlines() or [""]
    problem, context, mark = str(error.problem), str(error.context), error.problem_mark
    row, column, begin = min(mark.line, len(lines) - 1), mark.column, error.context_mark
    if "'\\t' that cannot" in problem:
        return mark.line, column, "indent with spaces, not with tabs"
    if problem in {"aliases are not read here", "tags are not read here"}:
        return mark.line, column, "text is put in quotes"
    if "cannot start any token" in problem or "scanning an alias" in context:
        return mark.line, column, "put the value in quotes"
    if "while scanning a quoted scalar" in context and begin:
        return begin.line, begin.column, "this quote is never closed"
    if "while parsing a flow" in context and begin:
        return mark.line, column, f"the bracket of line {begin.line + 1} is not closed before"
    if "could not find expected ':'" in problem and begin:
        missing = LIKE_A_KEY.match(lines[min(begin.line, len(lines) - 1)])
        hint = "a space is missing after the colon" if missing else "a key ends with a colon"
        return begin.line, begin.column, hint
    if "mapping values are not allowed" in problem:
        row, hint = _of_a_colon(lines, row, column)
        return row, _indent(lines[row]) if row != mark.line else column, hint
    if problem.startswith("expected <block end>"):
        return mark.line, column, _of_a_block(lines, row, problem)
    if "double-quoted scalar" in context:
        return mark.line, column, "write \\\\ for a backslash, or use single quotes"
    if "while scanning a block scalar" in context:
        return mark.line, column, "put the value in quotes"
    return mark.line, column, ""


def name_of_encoding(content: bytes) -> str | None:
    """Return the encoding that bytes are in, where it is one of those that are not read."""
    for mark, name in (
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ):
        if content.startswith(mark):
            return name
    zeros = (content[:200:2].count(0), content[1:200:2].count(0))
    half = len(content[:200]) // 2
    # every other byte of Latin text is a zero
    return "UTF-16" if half and max(zeros) > half * 0.8 and min(zeros) == 0 else None
