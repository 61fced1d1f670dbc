"""The table of a profile: shares, milliseconds and rates, by value."""

from dataclasses import replace
from pathlib import Path

import pytest

from model_foundry.cli.profile_report import MOST_OPERATORS, begin_profile, profile_lines
from model_foundry.training.profiler.costs import Cost
from model_foundry.training.profiler.profile import ProfileReport
from tests.experiments import tiny_experiment

REPORT = ProfileReport(
    last_step=16,
    steps=5,
    on_gpu=False,
    seconds=0.02,
    profiled_seconds=0.04,
    number=512,
    unit="tokens",
    phases=[Cost("backward", 0.03), Cost("forward", 0.01)],
    operators=[Cost("aten::mm", 0.02, 4, 4e9), Cost("My\x1bFunction", 0.01, 1.5)],
    trace=Path("runs/one/diagnostics/profile-step-00000016.json.gz"),
)


def test_the_lines_by_value() -> None:
    assert list(profile_lines(REPORT)) == [
        "a step takes 20.00 ms, 25,600 tokens per second; "
        "steps 12 to 16, under the profiler, 40.00 ms:",
        "   share        ms  time of the processor",
        "   75.0%     30.00  backward",
        "   25.0%     10.00  forward",
        "   share        ms   calls  GFLOP/s  operator",
        "   50.0%     20.00       4      200  aten::mm",
        "   25.0%     10.00       2           My\\x1bFunction",
        "trace of step 16, for ui.perfetto.dev: runs/one/diagnostics/profile-step-00000016.json.gz",
    ]


def test_only_the_costliest_operators_are_shown() -> None:
    many = [Cost(f"operator {number}", 0.001) for number in range(99)]
    lines = list(profile_lines(replace(REPORT, operators=many, trace=None, on_gpu=True)))
    assert len([line for line in lines if "operator " in line]) == MOST_OPERATORS
    assert lines[1].endswith("time of the GPU")
    assert "trace" not in lines[-1]


def test_it_is_printed_when_it_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = begin_profile(tiny_experiment("gpt2", tmp_path))
    assert profile.directory == tmp_path / "run" / "diagnostics"
    profile.announce(REPORT)
    assert capsys.readouterr().out.splitlines() == list(profile_lines(REPORT))
