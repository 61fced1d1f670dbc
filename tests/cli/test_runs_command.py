"""`foundry runs`: a list of runs by any setting or figure."""

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.written_runs import log_lines, write_run


@pytest.fixture
def here(here: Path) -> Path:
    """Five runs: two that ended, one killed, one empty, one damaged."""
    write_run(here / "runs/lstm", kind="lstm")
    write_run(here / "runs/below/gpt2", "training.learning_rate=0.5", lines=log_lines(20))
    write_run(here / "runs/killed", state="running", lines=log_lines(10))
    empty = write_run(here / "runs/empty", lines=[])
    empty.status_file.unlink()
    write_run(here / "runs/damaged").status_file.write_text("[")
    return here


def listed(cli: Cli, *arguments: str) -> list[str]:
    """Return the runs in the first column."""
    code, out, _ = cli("runs", *arguments)
    assert code == 0
    return [line.split()[0].removeprefix("runs/") for line in out.splitlines()[1:] if "/" in line]


def test_every_run_is_a_line_also_an_unreadable_one(cli: Cli) -> None:
    code, out, err = cli("runs")
    assert code == 0
    assert err.startswith("warning: runs/damaged/status.json: is not a status file")
    rows = {line.split()[0]: line.split() for line in out.splitlines()}
    assert rows["run"][1:] == ["state", "step", "best", "loss", "parameters", "time", "started"]
    assert rows["runs/lstm"][1:6] == ["completed", "40/40", "loss", "2.5060", "2.4060"]
    assert rows["runs/lstm"][6:8] == ["1,234", "0:00:45"]
    assert rows["runs/killed"][1:3] == ["killed", "10/40"]
    assert rows["runs/empty"][1:3] == ["empty", "0/40"]
    assert rows["runs/damaged"][1] == "unreadable"
    assert len(rows) == 6 and all(line == line.rstrip() for line in out.splitlines())


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        (["model.architecture=lstm"], {"lstm"}),
        (["model.architecture!=lstm", "state=completed"], {"below/gpt2"}),
        (["eval/loss<3"], {"lstm"}),
        (["training.learning_rate>=0.5"], {"below/gpt2"}),
        (["training.learning_rate=5e-1"], {"below/gpt2"}),
        (["step > 10", "step<=40", "eval/loss>0"], {"lstm", "below/gpt2"}),
        (["started>2027"], set()),
        (["training.carry_state=false", "state=killed"], {"killed"}),
    ],
)
def test_runs_are_chosen_by_settings_and_figures(
    cli: Cli, conditions: list[str], names: set[str]
) -> None:
    options = [part for condition in conditions for part in ("--where", condition)]
    assert set(listed(cli, *options)) == names


def test_runs_are_sorted_and_those_without_the_value_are_last(cli: Cli) -> None:
    assert listed(cli, "--sort", "eval/loss")[:3] == ["lstm", "below/gpt2", "killed"]
    assert listed(cli, "--sort", "loss", "--reverse")[:3] == ["killed", "below/gpt2", "lstm"]
    assert listed(cli, "runs/below", "runs", "--sort", "run")[0] == "below/gpt2"


def test_columns_are_any_keys(cli: Cli) -> None:
    columns = "run,training.learning_rate,eval/perplexity,training.max_steps,seconds"
    code, out, _ = cli("runs", "--columns", columns, "--where", "state=completed")
    heads, *rows = [line.split() for line in out.splitlines()]
    assert code == 0 and heads == [*columns.split(",")[:-1], "time"]
    assert ["runs/below/gpt2", "0.5", "24.62", "40", "0:00:45"] in rows
    assert rows[-1] == ["2", "of", "5", "runs"]


def test_json_and_csv_have_the_values_in_full(cli: Cli) -> None:
    _, out, _ = cli("runs", "--json", "--where", "model.architecture=lstm")
    [run] = json.loads(out)
    assert run["state"] == "completed" and run["best"] == pytest.approx(2.50600584970984)
    assert run["reason"] is None
    _, out, _ = cli("runs", "--csv", "--columns", "run,eval/loss", "--sort", "eval/loss")
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["run", "eval/loss"] and rows[1] == ["runs/lstm", str(run["best"])]
    assert rows[-1][1] == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sort", "eval/los"], "--sort: no run has a figure or setting 'eval/los'; did you mean"),
        (["--where", "loss_rate=1"], "--where: no run has a figure or setting 'loss_rate'"),
        (["--columns", "run,learning_rate"], "did you mean 'train/learning_rate' or 'training.l"),
        (["--where", "eval/loss"], "--where 'eval/loss': must read KEY OP VALUE, OP one of"),
        (["--where", "step=]"], "--where 'step=]'"),
        (["nowhere"], "error: nowhere: no such directory"),
        (["--json", "--csv"], "--json and --csv exclude each other"),
    ],
)
def test_a_mistake_is_one_line(cli: Cli, arguments: list[str], message: str) -> None:
    code, out, err = cli("runs", *arguments)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_no_runs_are_said_to_be_none(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli("runs", "--sort", "anything") == (0, "no runs below runs\n", "")
    assert cli("runs", "--json") == (0, "[]\n", "")


@pytest.mark.slow
def test_two_hundred_runs_are_listed_without_torch(here: Path, project: Path) -> None:
    for number in range(200):
        write_run(here / f"runs/many/{number}", lines=log_lines(40))
    program = (
        "import sys; from model_foundry.cli import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, 'numpy' in sys.modules, file=sys.stderr)"
    )
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, "runs", "runs/many", "--where", "model.architecture=gpt2"],
        cwd=here,
        env={"PYTHONPATH": str(project), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 201
    assert done.stderr == "False False\n"
    assert time.monotonic() - begun < 30  # 0.8 s on a free core
