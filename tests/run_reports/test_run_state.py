"""The state of a run as it is now."""

import os
from pathlib import Path
from typing import Any

import pytest

from model_foundry.foundation.locks import exclusive, is_held
from model_foundry.run_reports.run_state import present_state
from tests.written_runs import set_status, write_run


@pytest.mark.parametrize("state", ["completed", "interrupted", "failed"])
def test_a_run_that_ended_has_the_state_that_it_wrote(state: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", state=state)
    assert present_state(run, run.status()) == state


def test_a_running_run_holds_its_lock_and_a_killed_one_does_not(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", state="running")
    assert present_state(run, run.status()) == "killed"
    with exclusive(run.lock_file):
        assert present_state(run, run.status()) == "running"
    assert present_state(run, run.status()) == "killed"


def test_a_held_lock_beside_another_status_is_a_new_attempt(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", state="interrupted")
    with exclusive(run.lock_file):
        assert present_state(run, run.status()) == "starting"
        assert present_state(run, None) == "starting"
    run.status_file.unlink()
    assert present_state(run, run.status()) == "empty"


@pytest.mark.parametrize(
    ("error", "state"),
    [(None, "running"), (PermissionError, "running"), (ProcessLookupError, "killed")],
)
def test_a_run_without_a_lock_is_seen_by_its_process(
    error: Any, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "one", state="running")
    set_status(run, pid=12345)

    def kill(pid: int, signal: int) -> None:
        assert (pid, signal) == (12345, 0)
        if error is not None:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    assert present_state(run, run.status()) == state
    run.lock_file.write_text('{"pid": 12345}')  # it had the lock, which died with it
    assert present_state(run, run.status()) == "killed"


def test_looking_at_a_lock_does_not_take_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not is_held(path) and not path.exists()
    path.touch()
    assert not is_held(path)
    with exclusive(path):
        assert is_held(path) and is_held(path)
    with exclusive(path):
        pass
