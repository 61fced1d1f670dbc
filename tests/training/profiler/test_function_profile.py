"""The profile by function: Python's own figures, for a step."""

import pstats
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model_foundry.training.profiler.function_profile import (
    MOST_FUNCTIONS,
    FunctionCost,
    FunctionProfile,
    FunctionReport,
)


def inner() -> None:
    time.sleep(0.004)


def outer() -> None:
    inner()
    inner()


def profiled(directory: Path, *, steps: int = 5) -> list[FunctionReport]:
    """Return the reports of a training whose steps call `outer`."""
    reports: list[FunctionReport] = []
    profile = FunctionProfile(directory, announce=reports.append, warm_up=2, steps=2)
    state = SimpleNamespace(step=0)
    training: Any = SimpleNamespace(context=SimpleNamespace(state=state))
    for _ in range(steps):
        with profile.around_step(training):
            outer()
            state.step += 1
    assert profile.report is (reports[0] if reports else None)
    return reports


def test_functions_are_counted_for_a_step(tmp_path: Path) -> None:
    [report] = profiled(tmp_path / "new")
    assert (report.last_step, report.steps) == (5, 2)
    costs = {cost.name.partition(" ")[0]: cost for cost in report.functions}
    assert (costs["outer"].calls, costs["inner"].calls) == (1, 2)
    assert costs["outer"].seconds >= costs["inner"].seconds > 2 * 0.004
    assert costs["outer"].own_seconds < 0.004
    line = outer.__code__.co_firstlineno
    assert costs["outer"].name == f"outer (training/profiler/test_function_profile.py:{line})"
    seconds = [cost.seconds for cost in report.functions]
    assert seconds == sorted(seconds, reverse=True)
    assert not any("Profiler" in cost.name for cost in report.functions)


def test_all_functions_are_in_a_file(tmp_path: Path) -> None:
    [report] = profiled(tmp_path)
    assert report.file == tmp_path / "functions-step-00000005.pstats"
    names = {name for _, _, name in pstats.Stats(str(report.file)).stats}
    assert {"outer", "inner"} <= names


def test_a_run_that_ends_before_is_not_profiled(tmp_path: Path) -> None:
    assert profiled(tmp_path, steps=4) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    [report] = profiled(tmp_path / "file")
    assert report.file is None
    assert "functions-step-00000005.pstats: cannot be written (File exists)" in caplog.text


def test_the_lines_by_value() -> None:
    functions = [FunctionCost(f"f{n} (a/b.py:{n})", 1.5, 0.001, 0.02) for n in range(99)]
    report = FunctionReport(
        last_step=16, steps=5, seconds=0.02, functions=functions, file=Path("runs/one/f.pstats")
    )
    lines = list(report.lines())
    assert len(lines) == 3 + MOST_FUNCTIONS
    assert lines[:3] == [
        "a step takes 20.00 ms; steps 12 to 16, under the profiler, by function, for a step:",
        "    calls    own ms        ms  function",
        "      1.5      1.00     20.00  f0 (a/b.py:0)",
    ]
    assert lines[-1] == "all functions, for python -m pstats: runs/one/f.pstats"
