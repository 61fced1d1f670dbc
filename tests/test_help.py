"""The help of every command: whole at 80 columns, with an example."""

import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from model_foundry.cli.commands import app

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_line_is_whole_at_80_columns(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= 80
    text = re.sub(r"[\[{]?[A-Z=]+[\]},]*\.\.\.", "", result.output)  # several may be given
    assert "..." not in text and "\u2026" not in text
    assert not re.search("<(Path|str|int|float|list)", text)  # no Python types
    assert not command or f"Example: foundry {command} " in " ".join(text.split())
