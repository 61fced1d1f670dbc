"""docs/planning.md: its command prints what it shows, and its figures were measured."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from benchmarks.results import Found, Table
from model_foundry.cli import commands, main
from model_foundry.planning import risks

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "planning.md").read_text(encoding="utf-8")
OF_THE_MACHINE = ("process", "free", "largest batch")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


def named(report: str) -> dict[str, list[str]]:
    """Return the lines of a report below their names; a continued line is one line."""
    found: dict[str, list[str]] = {}
    for line in re.sub(r"\n {10,}", " ", report).splitlines():
        name, _, value = line.strip().partition("  ")
        found.setdefault(name, []).append(value.strip())
    return found


@pytest.mark.slow
def test_the_command_prints_what_the_page_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", shlex.split(blocks("sh")[0]))
    monkeypatch.setattr(commands.options, "debug", False)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    shown, printed = named(blocks("text")[0]), named(capsys.readouterr().out)
    assert shown.keys() == printed.keys()
    same = [name for name in shown if name not in (*OF_THE_MACHINE, "activations", "peak")]
    assert len(same) > 20
    assert {name: shown[name] for name in same} == {name: printed[name] for name in same}


def tables() -> list[Table]:
    records = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    return Found.from_json(records["plan"]["found"]).tables


def test_the_page_has_the_tables_that_were_measured() -> None:
    for table in tables():
        assert str(table).partition("\n\n")[2].strip() in PAGE


def test_every_prediction_is_within_a_quarter() -> None:
    memory, times = tables()
    assert len(memory.rows) >= 7
    for row in memory.rows:
        assert row[2] == "exact"
        assert all(abs(int(row[place].rstrip("%"))) <= 25 for place in (6, 9)), row
    for row in times.rows:
        assert all(abs(int(off.rstrip("%"))) <= 25 for off in row[6].split(", ")), row


def test_every_risk_is_on_the_page() -> None:
    source = Path(risks.__file__).read_text(encoding="utf-8")
    names = set(re.findall(r'name="([\w-]+)"', source))
    assert len(names) == 10
    assert names == set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.M))
