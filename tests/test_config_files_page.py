"""The files, commands, tables and output of docs/config_files.md."""

import re
from pathlib import Path

import pytest

from model_foundry.config import load_config
from model_foundry.config.groups import GROUPS
from model_foundry.config.shipped import shipped_configs
from tests.config.conftest import CORPUS
from tests.config.conftest import foundry as foundry
from tests.config.conftest import here as here

PAGE = (Path(__file__).parents[1] / "docs" / "config_files.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines()]


@pytest.fixture
def study(here: Path) -> Path:
    """The current directory, with the files of the page and two corpora."""
    for block in blocks("yaml"):
        path = here / block.partition("\n")[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block)
    (here / "other.txt").write_text(CORPUS * 2)
    return here


def arguments(command: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the arguments of a command of the page, and set its variables."""
    words = re.findall(r"'[^']*'|[^\s']+", command.partition("   ")[0])
    while "=" in words[0]:
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    assert words[:2] == ["foundry", "validate"]
    return [word.strip("'") for word in words[1:]]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_finds_no_faults(command, study, foundry, monkeypatch):
    ended = foundry(*arguments(command, monkeypatch))
    assert (ended.code, ended.faults) == (0, [])


def test_the_comments_of_the_commands_are_true(study):
    def training(*overrides: str):
        return load_config("study/wide.yaml", overrides=overrides).training

    assert training("+training.metrics=accuracy").metrics == ["accuracy"]
    assert training("~training.warmup_steps").warmup_steps == 0
    config = load_config("study/wide.yaml")
    assert config.model.rnn.model_dump(exclude_unset=True) == {
        **{"embedding_size": 32, "hidden_size": 96}
    }


def test_the_output_is_as_it_is_printed(study, foundry, monkeypatch):
    (command,) = [line for line in COMMANDS if line.endswith("--resolved")]
    printed = foundry(*arguments(command, monkeypatch)).out.splitlines()
    (shown,) = blocks("text")
    place = 0
    for line in shown.splitlines():
        if line != "...":
            place = printed.index(line, place) + 1


def test_the_table_has_every_file_that_is_shipped():
    table = dict(re.findall(r"^\| `(\w+)` \| (`\w+`(?:, `\w+`)*) \|$", PAGE, re.M))
    shipped = {
        group: ", ".join(f"`{path.stem}`" for path in sorted(files))
        for group in GROUPS
        if group != "debug" and (files := (shipped_configs() / group).glob("*.yaml"))
    }
    assert table == shipped
