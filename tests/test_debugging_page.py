"""The page on debugging names every preset and every setting, and its commands load."""

import re
import shlex
from pathlib import Path

import pytest

from model_foundry.config import load_config
from model_foundry.config.debug import DebugConfig
from model_foundry.config.shipped import shipped_configs

PAGE = (Path(__file__).parents[1] / "docs" / "debugging.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    for line in block.splitlines()
]
TABLES = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("|")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[-1])
def test_a_command_loads(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    program, verb, path, *overrides = command
    assert (program, verb) == ("foundry", "train")
    assert load_config(path, overrides=overrides).output_dir == Path("debug/tiny-gpt2")


def test_every_preset_and_setting_is_in_a_table() -> None:
    named = set(re.findall(r"`([\w.]+)`", " ".join(TABLES)))
    presets = {path.stem for path in (shipped_configs() / "debug").glob("*.yaml")}
    assert presets <= named
    assert {f"debug.{name}" for name in DebugConfig.model_fields} <= named
