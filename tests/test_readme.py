"""The README is right: its commands and programs run, its file validates, its links exist.

Blocks that call make or pip are set-up, which `.ci/run` runs.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from model_foundry.config import ExperimentConfig, validate
from model_foundry.config.yaml_reader import parse_yaml
from model_foundry.synthetic_language import load_language

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FOUNDRY = [sys.executable, "-m", "model_foundry"]
PROGRAMS = {"foundry": FOUNDRY, "torchrun": [sys.executable, "-m", "torch.distributed.run"]}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    """Return the commands of the README, as they are run where nothing is installed."""
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    wanted = [line for line in lines if not line.startswith(("make ", "pip "))]
    words = [shlex.split(line) for line in wanted]
    return [[*PROGRAMS[program], *arguments] for program, *arguments in words]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    """A directory with the shipped configs and a text, as the README's reader has it."""
    directory = tmp_path_factory.mktemp("newcomer")
    (directory / "configs").symlink_to(project / "configs")
    text = "\n\n".join(load_language().sample(3000, seed=3))
    (directory / "corpus.txt").write_text(text, encoding="utf-8")
    return directory


def run(
    arguments: list[str], directory: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    merged: Mapping[str, str] = os.environ | environment
    return subprocess.run(
        arguments, cwd=directory, env=merged, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_commands_and_programs_run_in_their_order(newcomer: Path, tmp_path: Path) -> None:
    assert commands()
    for command in commands():
        done = run(command, newcomer, PYTHONPATH=str(Path(__file__).parents[1]))
        assert done.returncode == 0, (command, done.stderr)
    for program in blocks("python"):
        done = run([sys.executable, "-c", program], newcomer, HF_MODULES_CACHE=str(tmp_path))
        assert done.returncode == 0, (program, done.stderr)
        assert done.stdout.strip()


@pytest.mark.slow
def test_error_is_the_one_shown(newcomer: Path) -> None:
    [session] = blocks("console")
    command, *expected = session.splitlines()
    done = run([*FOUNDRY, *shlex.split(command.removeprefix("$ "))[1:]], newcomer)
    assert done.returncode == 2
    assert done.stderr.splitlines() == expected


def test_experiment_file_is_valid() -> None:
    [text] = blocks("yaml")
    assert isinstance(validate(parse_yaml(text, "README"), "README"), ExperimentConfig)


def test_links_lead_somewhere(project: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    missing = [target for target in targets if not (project / target).exists()]
    assert targets and not missing
