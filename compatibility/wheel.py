"""Build the wheel, install it into an empty environment, and use it there, outside the checkout.

    python -m compatibility.wheel [--set oldest] [--whole] [--tests] [--keep DIRECTORY]

torch is the pinned one. Everything else is chosen by pip or, with `--set`, by a set of
foundation/tested_versions.yaml. Quickstart, doctor, and a short training of each
architecture, whose model the doctor then examines; the quickstart is cut short without `--whole`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from compatibility.versions import tests
from model_foundry.foundation.tested_versions import PINNED, run_with

PROJECT: Final = Path(__file__).parents[1]
PIP: Final = ("-m", "pip", "--disable-pip-version-check", "--quiet")
SHORT: Final = ("training.max_steps=40", "training.warmup_steps=10")
WHERE: Final = (
    "import model_foundry, sys; sys.exit(not model_foundry.__file__.startswith(sys.prefix))"
)


class Installed:
    """An environment with nothing but the wheel and its dependencies."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.python = place / "environment" / "bin" / "python"
        # nothing of this checkout, and nothing that somebody has set, reaches it
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        caches = {"HF_HOME": str(place / "hf"), "FOUNDRY_CACHE": str(place / "cache")}
        self.environment = kept | caches | {"HF_HUB_OFFLINE": "1"}

    def run(self, *command: str) -> None:
        """Run a command outside the checkout.

        Raises:
            SystemExit: it fails; its output is on the terminal.
        """
        print(f"$ {' '.join(command)}", flush=True)
        begun = time.perf_counter()
        done = subprocess.run([self.python, *command], cwd=self.place, env=self.environment)
        print(f"({time.perf_counter() - begun:.0f} s)", flush=True)
        if done.returncode:
            raise SystemExit(f"failed: {' '.join(command)}")

    def install(self, versions: dict[str, str]) -> None:
        """Build the wheel and install it, with pinned versions if there are any."""
        subprocess.run([sys.executable, "-m", "venv", self.python.parents[1]], check=True)
        self.run(*PIP, "install", f"torch=={run_with()[PINNED]['torch']}")
        self.run(*PIP, "wheel", "--no-deps", "--wheel-dir", "wheels", str(PROJECT))
        (wheel,) = (self.place / "wheels").glob("*.whl")
        named = [f"{library}=={version}" for library, version in versions.items()]
        self.run(*PIP, "install", str(wheel), *named)
        self.run("-c", WHERE)
        self.run("-m", "pip", "list", "--format", "freeze")

    def foundry(self, *arguments: str) -> None:
        """Run a command of the foundry."""
        self.run("-m", "model_foundry", *arguments)

    def begin(self) -> None:
        """Write an experiment with nothing but the package, train it, and look at the run."""
        self.foundry("new", "my.yaml", "--architecture", "lstm")
        self.foundry("plan", "my.yaml")
        self.foundry("train", "my.yaml", *SHORT)
        self.foundry("train", "my.yaml", "debug=fdr", "model=gru_small")
        self.foundry("show", "runs/my")
        self.foundry("runs")
        self.foundry("plot", "runs/my")

    def use(self, *, whole: bool) -> None:
        """Train and examine the shipped experiments."""
        shutil.copytree(PROJECT / "configs", self.place / "configs")
        self.foundry("train", "configs/quickstart.yaml", *(() if whole else SHORT))
        self.foundry("doctor")
        for config in sorted((self.place / "configs").glob("tiny_*.yaml")):
            name = str(config.relative_to(self.place))
            self.foundry("train", name, *SHORT)
            self.foundry("doctor", name)

    def test(self) -> None:
        """Run the tests that hold on every version, without the checkout."""
        self.run(*PIP, "install", "pytest", "pytest-xdist")
        shutil.copytree(PROJECT / "tests", self.place / "tests")
        shutil.copy(PROJECT / "pyproject.toml", self.place)
        tests(self.environment, self.python, self.place, "-n", "2")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all checks in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--set", choices=[*run_with()], help="default: the choice of pip")
    parser.add_argument("--whole", action="store_true", help="the whole quickstart")
    parser.add_argument("--tests", action="store_true", help="the tests of models as well")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="a new one to leave it in")
    options = parser.parse_args(arguments)
    versions = dict(run_with()[options.set]) if options.set else {}
    versions.pop("torch", None)
    with tempfile.TemporaryDirectory() as temporary:
        place = options.keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        installed = Installed(place.resolve())
        installed.install(versions)
        if options.tests:
            installed.test()
        installed.begin()
        installed.use(whole=options.whole)


if __name__ == "__main__":
    main()
