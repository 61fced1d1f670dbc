"""`foundry show`: a run that ended, runs, was killed, is empty or half-written."""

import json
import time
from pathlib import Path
from threading import Thread

import pytest

from model_foundry.cli import show_command
from model_foundry.foundation.locks import exclusive
from model_foundry.foundation.strict_json import strict_json
from model_foundry.run_reports.run_report import RunReader
from tests.cli.conftest import Cli
from tests.written_runs import log_lines, moment, set_status, write_run


@pytest.fixture
def here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "80")
    return here


def test_a_finished_run_has_its_figures_attempts_and_checkpoints(cli: Cli, here: Path) -> None:
    lines = log_lines(20) + log_lines(40, attempt=2, after=20)
    attempts = ((0, 0, 25.0), (118, 20, None))
    run = write_run(here / "runs/one", lines=lines, attempts=attempts)
    set_status(run, time=moment(150))
    run.write_measurement("loss-step-00000040", {"eval/loss": 2.5, "eval/tokens": 9, "note": "x"})
    code, out, err = cli("show", "runs/one")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert "completed" in out and "took 0:00:57" in out and "runs/one ─╯" in out
    assert ["eval", "loss", "2.5000"] in rows and "tokens 9" not in out
    assert [row[-3:] for row in rows if row[:1] == ["1"]] == [["0", "20", "0:00:25"]]
    assert [row[-3:] for row in rows if row[:1] == ["2"]] == [["20", "40", "0:00:32"]]


def test_a_killed_run_is_seen_as_such(cli: Cli, here: Path) -> None:
    run = write_run(here / "runs/one", state="running", lines=log_lines(30))
    with run.metrics_file.open("a") as file:
        file.write('{"step": 31, "train/lo')  # torn by the kill
    code, out, err = cli("show", "runs/one")
    assert (code, err) == (0, "")
    assert "step 30/40" in out and "killed: its process is gone; the same command" in out
    with exclusive(run.lock_file):
        assert "0:00:10 left" in cli("show", "runs/one")[1]


def test_an_interrupted_run_says_why(cli: Cli, here: Path) -> None:
    write_run(here / "runs/one", state="interrupted")
    assert "interrupted: SIGTERM: saved at step 40" in cli("show", "runs/one")[1]


def test_a_run_that_wrote_its_settings_only_is_empty(cli: Cli, here: Path) -> None:
    run = write_run(here / "runs/one", "training.max_steps=30")
    run.status_file.unlink()
    run.metrics_file.unlink()
    code, out, _ = cli("show", "runs/one")
    assert code == 0 and "gpt2" in out and "step 0/30" in out and "empty" in out


def test_json_has_all_of_it(cli: Cli, here: Path) -> None:
    run = write_run(here / "runs/one", lines=[*log_lines(), {"step": 40, "eval_ema/loss": None}])
    code, out, _ = cli("show", "runs/one", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["state"], report["step"], report["total_steps"]) == ("completed", 40, 40)
    assert (report["best"]["step"], report["seconds"]) == (40, 45.0)
    assert report["evaluations"]["eval_ema"]["values"] == {"loss": None}
    assert [each["last_step"] for each in report["attempts"]] == [40]
    assert report["checkpoints"] == []
    assert report["path"] == str(run.path.relative_to(here))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("runs/onn", "error: runs/onn: no such directory; did you mean runs/one?"),
        ("one", "error: one: no such directory; did you mean runs/one?"),
        ("one.yaml", "error: one.yaml: is a file, not the directory of a run; did you mean runs/o"),
        ("runs", "is not the directory of a run (it has no status.json); runs below it: runs/one"),
        ("nothing-like-it", "no such directory; `foundry runs` lists them"),
    ],
)
def test_another_path_is_one_line_with_the_nearest_run(
    cli: Cli, here: Path, path: str, message: str
) -> None:
    write_run(here / "runs/one")
    (here / "one.yaml").touch()
    code, out, err = cli("show", path)
    assert (code, out) == (2, "") and len(err.splitlines()) == 1
    assert message in err


def test_a_damaged_status_is_one_line(cli: Cli, here: Path) -> None:
    run = write_run(here / "runs/one")
    run.status_file.write_text("{")
    code, out, err = cli("show", "runs/one")
    assert (code, out) == (2, "") and "is not a status file" in err


@pytest.mark.parametrize("as_json", [False, True])
def test_a_run_is_followed_until_it_ends(
    as_json: bool, cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show_command, "INTERVAL", 0.01)
    lines = log_lines()
    run = write_run(here / "runs/one", state="running", lines=lines[:-1])

    def end() -> None:
        time.sleep(0.1)
        with run.metrics_file.open("a") as file:
            file.write(strict_json(lines[-1]) + "\n")
        time.sleep(0.1)
        set_status(run, state="completed")

    with exclusive(run.lock_file):
        (thread := Thread(target=end)).start()
        options = ("--follow", "--json") if as_json else ("--follow",)
        code, out, err = cli("show", "runs/one", *options)
        thread.join()
    assert (code, err) == (0, "")
    if as_json:
        first, last = map(json.loads, out.splitlines())
        assert first == {"event": "evaluation", **lines[-1]}
        assert last["state"] == "completed"
    else:
        assert out.startswith("step 40/40  eval loss 2.5060") and "completed │" in out


def test_a_resumed_run_brings_no_line_twice(here: Path) -> None:
    lines = log_lines()
    run = write_run(here / "runs/one", state="running", lines=lines)
    reader = RunReader(run)
    assert len(reader.read(0.0)[1]) == len(lines)
    again = [*lines[:-2], {**lines[-1], "time": lines[-1]["time"] + 99.0}]
    aside = here / "aside"
    aside.write_text("".join(json.dumps(line) + "\n" for line in again))
    aside.replace(run.metrics_file)
    report, new = reader.read(0.0)
    assert new == again[-1:] and len(report.lines) == len(again)
