"""Check this package on one NVIDIA GPU, within eight minutes: tests first, then utilisation.

    make gpu                                    # or: python -m benchmarks.gpu_check
    python -m benchmarks --take-in gpu-results  # afterwards, where the checkout is

Any Python with the package and a torch for CUDA will do. All output is in one directory, which can
be copied to another machine: `tests.txt` (the report of pytest), `tests.xml`, and `results.json`,
RESULTS.md and results.png of `benchmarks`. The exit code is 0 if all tests have passed and every
contender has figures, else 1.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import gpu
from benchmarks.asked import Asked, RawHelp, add_options, parse
from benchmarks.results import Found, Store, Table, say
from benchmarks.rounds import PROJECT
from benchmarks.starting import run_quietly

MINUTES: Final = 8.0
SHARE_OF_TESTS: Final = 0.5  # of the time, at most; the rest is for the utilisation
PART: Final = "gpu"


def gpu_test_files() -> list[str]:
    """Return the test files with tests that need a GPU, so that no others are imported."""
    files = sorted((PROJECT / "tests").rglob("test_*.py"))
    marked = [file for file in files if "pytest.mark.gpu" in file.read_text(encoding="utf-8")]
    return [str(file.relative_to(PROJECT)) for file in marked]


def run_tests(output: Path, *, seconds: float, command: Sequence[str] | None = None) -> str | None:
    """Run the tests marked `gpu`; write their report and return the fault, None if all passed.

    Args:
        seconds: time limit.
        command: runs them; None: pytest of this Python.
    """
    pytest = [sys.executable, "-m", "pytest", "-m", "gpu", "-ra", "--durations=8"]
    report = output / "tests.txt"
    command = command or [*pytest, f"--junitxml={output / 'tests.xml'}", *gpu_test_files()]
    with report.open("wb") as file:
        try:
            done = subprocess.run(
                command, cwd=PROJECT, stdout=file, stderr=subprocess.STDOUT, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return f"the tests took more than {seconds:.0f} s, see {report.name}"
    # of the report, the last line is the verdict: "23 passed, 1 skipped in 70.10s"
    lines = report.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    last = re.sub(r"^=+ | =+$", "", lines[-1]) if lines else "pytest printed nothing"
    say(f"tests: {last}")
    return f"tests: {last}, see {report.name}" if done.returncode or "passed" not in last else None


def missing_figures(found: Found) -> list[str]:
    """Return a line for each contender that has no figures."""
    return [
        f"{ratio.group}, {ratio.ours} against {ratio.other}: {ratio.not_run}"
        for ratio in found.ratios
        if ratio.not_run is not None
    ]


def check(
    asked: Asked, output: Path, *, minutes: float, command: Sequence[str] | None = None
) -> list[str]:
    """Run tests and utilisation into a directory; return the faults.

    Args:
        command: runs the tests; None: pytest.
    """
    begun = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    fault = run_tests(output, seconds=60 * minutes * SHARE_OF_TESTS, command=command)
    left = 60 * minutes - (time.monotonic() - begun)
    found = gpu.measure(asked, seconds=left)
    verdict = fault or "all passed"
    found.tables.append(Table("Tests that need a GPU", ("", "result"), [("pytest", verdict)]))
    seconds = time.monotonic() - begun
    Store(output).put(PART, found, options=asked.as_options(), seconds=seconds)
    run_quietly([sys.executable, "-m", "benchmarks.plot", str(output)])
    say("\n".join(str(table) for table in found.tables))
    return [*filter(None, [fault]), *missing_figures(found)]


def main(argv: Sequence[str] | None = None) -> int:
    """Check, report the faults, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=RawHelp)
    add_options(parser)
    parser.add_argument("--output", type=Path, default=Path("gpu-results"), metavar="DIRECTORY",
                        help="directory of the results [gpu-results]")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=MINUTES,
                        help=f"time limit; no contender starts later [{MINUTES:g}]")  # fmt: skip
    asked, options = parse(parser, argv)
    if not gpu.cuda_is_there():
        parser.error("there is no NVIDIA GPU, or this torch is built without CUDA")
    faults = check(asked, options.output, minutes=options.minutes)
    for fault in faults:
        say(f"FAULT: {fault}")
    say(f"{'failed' if faults else 'passed'}; results are in {options.output}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
