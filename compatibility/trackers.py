"""Train with each tracker, kill the run, resume it, and read the figures back with the tracker.

    python -m compatibility.trackers [--trackers tensorboard wandb ...] [--libraries DIRECTORY]

Each tracker is installed, as its extra in pyproject.toml asks for, into an environment of its own
that lies over this one; torch stays as it is. The figures are compared with `metrics.jsonl`.
"""

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from compatibility.environments import add_libraries_option

PROJECT: Final = Path(__file__).parents[1]
TRACKERS: Final = ("tensorboard", "mlflow", "wandb", "trackio")
WITH_HELPER: Final = ("wandb",)
"""Trackers with a process of their own, which is killed too."""
KILLED: Final = -9


def environment_of(tracker: str, libraries: Path) -> Path:
    """Return the Python of an environment with a tracker, made unless it is there.

    Raises:
        RuntimeError: the tracker cannot be installed; the message is the end of the output of pip.
    """
    place = libraries / f"tracker-{tracker}"
    python = place / "bin" / "python"
    if (place / "installed").exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
    within = Path(sysconfig.get_path("purelib", vars={"base": str(place)}))
    # what is installed here is seen there, after its own packages
    (within / "beneath.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["optional-dependencies"][tracker]
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, *wanted, "torch==2.13.0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"cannot install {', '.join(wanted)}:\n{done.stdout[-2000:]}")
    if list(within.glob("torch-*")):
        raise RuntimeError(f"{tracker} has installed another torch")
    (place / "installed").touch()
    return python


class Environment:
    """The processes of one tracker."""

    def __init__(self, tracker: str, python: Path, place: Path) -> None:
        self.tracker, self.python, self.place = tracker, python, place
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "MLFLOW_"))}
        self.variables = kept | {
            "PYTHONPATH": str(PROJECT),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TRACKIO_DIR": str(place / "trackio"),
            "FOUNDRY_CACHE": str(place / "cache"),
        }

    def train(self, name: str, fault: str) -> tuple[int, str]:
        """Train a run, of which a fault may strike; return the exit code and the messages."""
        script = PROJECT / "compatibility" / "tracked_run.py"
        command = [self.python, script, self.tracker, self.place / name, fault]
        done = subprocess.run(command, env=self.variables, stderr=subprocess.PIPE, text=True)
        return done.returncode, done.stderr

    def read_back(self, name: str) -> list[tuple[str, int, float]]:
        """Return (name, step, value) of every figure that the tracker shows of a run."""
        script = PROJECT / "compatibility" / "read_back.py"
        command = [self.python, script, self.tracker, self.place / name]
        done = subprocess.run(command, env=self.variables, stdout=subprocess.PIPE, check=True)
        return [(name, step, value) for name, step, value in json.loads(done.stdout)]


def logged(run: Path) -> dict[tuple[str, int], float]:
    """Return the figures of `metrics.jsonl` by name and step."""
    lines = (run / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        (name, line["step"]): value
        for line in map(json.loads, lines)
        for name, value in line.items()
        if "/" in name and isinstance(value, int | float)
    }


def differences(
    shown: list[tuple[str, int, float]], expected: dict[tuple[str, int], float]
) -> list[str]:
    """Return what a tracker shows otherwise than the log, a line each."""
    found: dict[tuple[str, int], float] = {}
    twice = []
    for name, step, value in shown:
        if (name, step) in found:
            twice.append(f"{name} of step {step} is there twice")
        found[name, step] = value
    lacking = [f"{name} of step {step} is missing" for name, step in expected if
               (name, step) not in found]  # fmt: skip
    other = [
        f"{name} of step {step} is {value!r}, not {expected.get((name, step))!r}"
        for (name, step), value in found.items()
        if value != expected.get((name, step))
    ]
    return [*twice, *lacking, *other]


def faults_of(environment: Environment) -> list[str]:
    """Return what is wrong with a tracker, a line each."""
    faults = []
    code, messages = environment.train("killed", "kill")
    if code != KILLED:
        return [f"the run that is to be killed ended with {code}: {messages[-2000:]}"]
    code, messages = environment.train("killed", "none")
    if code:
        return [f"the resumed run ended with {code}: {messages[-2000:]}"]
    faults += [f"unexpected: {line}" for line in messages.splitlines() if "tracker " in line]
    run = environment.place / "killed"
    expected = logged(run)
    if environment.tracker == "tensorboard":
        expected = {key: as_float32(value) for key, value in expected.items()}
    faults += differences(environment.read_back("killed"), expected)
    if environment.tracker in WITH_HELPER:
        code, messages = environment.train("helper", "helper")
        if code:
            faults.append(f"its process was killed: ended with {code}: {messages[-2000:]}")
        if len({step for _, step in logged(environment.place / "helper")}) != 12:
            faults.append("its process was killed: metrics.jsonl lacks steps")
    return faults


def as_float32(value: float) -> float:
    """Return a value as TensorBoard stores it."""
    import numpy as np

    return float(np.float32(value))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check each tracker in turn; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trackers", nargs="+", choices=TRACKERS, default=TRACKERS)
    add_libraries_option(parser)
    options = parser.parse_args(arguments)
    wrong: dict[str, Any] = {}
    for tracker in options.trackers:
        begun = time.perf_counter()
        python = environment_of(tracker, options.libraries.resolve())
        with tempfile.TemporaryDirectory() as place:
            wrong[tracker] = faults_of(Environment(tracker, python, Path(place)))
        verdict = "\n  ".join(wrong[tracker]) or "all figures are there, over a kill and a resume"
        print(f"{tracker} ({time.perf_counter() - begun:.0f} s): {verdict}", flush=True)
    return int(any(wrong.values()))


if __name__ == "__main__":
    sys.exit(main())
