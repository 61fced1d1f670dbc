"""Sets of libraries in separate directories, which overlay an environment."""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HEAVY: Final = {"torch"}
"""Libraries that are never laid over an environment: they are as they are installed."""


def overlay(directory: Path, versions: Mapping[str, str]) -> Path:
    """Install libraries without their dependencies, unless that was done; return the directory.

    Args:
        directory: the directories of all sets.
        versions: of each library.

    Raises:
        RuntimeError: one cannot be installed; the message is the end of the output of pip.
    """
    wanted = {name: version for name, version in versions.items() if name not in HEAVY}
    pins = [f"{name}=={version}" if version else name for name, version in sorted(wanted.items())]
    place = directory / "_".join(pins).replace("==", "-")
    if (place / "installed.json").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--target", str(place), *pins]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"cannot install {', '.join(pins)}:\n{done.stdout[-2000:]}")
    (place / "installed.json").write_text(json.dumps(pins), encoding="utf-8")
    return place


def add_libraries_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the directory in which the sets are installed and kept."""
    default = Path(sys.prefix) / "libraries"
    text = "directory of the sets of libraries; default: in the environment that runs this"
    parser.add_argument("--libraries", type=Path, default=default, metavar="DIRECTORY", help=text)
