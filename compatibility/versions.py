"""Run the tests of models, training and generation with the oldest and the newest libraries.

    python -m compatibility.versions [--sets oldest newest] [--libraries DIRECTORY]

The sets of foundation/tested_versions.yaml overlay the environment that runs this.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from compatibility.environments import add_libraries_option, overlay
from model_foundry.foundation.tested_versions import run_with

PROJECT: Final = Path(__file__).parents[1]
TESTS: Final = ("tests/architectures/test_contract.py", "tests/test_generation.py")
TRAINING: Final = (
    "tests/doctor/test_checks.py::test_sound_experiment_has_nothing_wrong_and_leaves_nothing"
)
"""Trains, resumes, saves, loads and generates, for each architecture."""


def tests(environment: dict[str, str], python: Path | str, place: Path, *options: str) -> None:
    """Run the tests that hold on every version.

    Raises:
        SystemExit: one fails; pytest has reported it.
    """
    command = [str(python), "-m", "pytest", "-q", *options, *TESTS, TRAINING]
    if subprocess.run(command, cwd=place, env=environment).returncode:
        raise SystemExit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tests with each set in turn."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=[*run_with()], default=["oldest", "newest"])
    add_libraries_option(parser)
    options = parser.parse_args(arguments)
    for name in options.sets:
        begun = time.perf_counter()
        place = overlay(options.libraries, run_with()[name])
        with tempfile.TemporaryDirectory() as modules:
            environment = os.environ | {"HF_MODULES_CACHE": modules, "OMP_NUM_THREADS": "1"}
            path = [str(place), *filter(None, [os.environ.get("PYTHONPATH")])]
            environment["PYTHONPATH"] = os.pathsep.join(path)
            tests(environment, sys.executable, PROJECT, "-n", "2")
        print(f"{name}: {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
