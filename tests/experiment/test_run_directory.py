"""A run on disk: its place, its lock, its status, its files."""

import json
import os
from pathlib import Path

import pytest

import model_foundry.experiment.run_directory
from model_foundry.config import save_config
from model_foundry.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    Interrupted,
    LockedError,
    SaveError,
)
from model_foundry.experiment.run_directory import RunDirectory, RunStatus, running
from model_foundry.foundation.atomic_files import MANIFEST, commit_directory
from model_foundry.model import find_model, newest_model
from model_foundry.objectives.processors import TAKEN, TOKENIZER
from model_foundry.training.state import TrainState
from tests.experiments import tiny_experiment

ID = "0123"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs" / "mine")


def test_no_processor_can_have_the_name_of_a_directory_of_a_run(run: RunDirectory) -> None:
    paths = [value.name for value in vars(run).values() if isinstance(value, Path)]
    directories = {name for name in paths if "." not in name} - {run.path.name}
    assert directories == {*TAKEN, TOKENIZER}


def commit(directory: Path) -> None:
    with commit_directory(directory) as aside:
        (aside / "file").touch()


def status_of(run: RunDirectory) -> RunStatus:
    status = run.status()
    assert status is not None
    return status


def test_a_status_reads_back_with_its_process_and_time(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    assert run.status() is None
    run.write_status(
        RunStatus(state="interrupted", step=7, last_good_step=5, reason="ä", attempt=2)
    )
    status = status_of(run)
    assert (status.state, status.step, status.last_good_step) == ("interrupted", 7, 5)
    assert (status.reason, status.attempt, status.pid) == ("ä", 2, os.getpid())
    assert status.time.endswith("+00:00")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"state": "running", "no_such_field": 1}',
        '{"state": "running", "best": {"metric": "loss"}}',
    ],
)
def test_a_damaged_status_is_named(run: RunDirectory, text: str) -> None:
    run.path.mkdir(parents=True)
    run.status_file.write_text(text)
    with pytest.raises(ConfigError, match=r"status\.json: is not a status file"):
        run.status()


def test_the_status_follows_the_run(run: RunDirectory) -> None:
    progress = TrainState()
    run.path.mkdir(parents=True)
    with running(run, progress, run_id=ID, attempt=3) as record:
        assert status_of(run).state == "running"
        assert status_of(run).exit_code is None
        progress.step, progress.last_good_step = 9, 8
        record()
        assert (status_of(run).step, status_of(run).state) == (9, "running")
    status = status_of(run)
    assert (status.state, status.step, status.last_good_step) == ("completed", 9, 8)
    assert (status.exit_code, status.run_id, status.attempt) == (0, ID, 3)


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (KeyboardInterrupt(), "interrupted", 130),
        (Interrupted("a signal"), "interrupted", 75),
        (DataError("no text"), "failed", 3),
        (ZeroDivisionError("ours"), "failed", 9),
    ],
)
def test_the_end_of_a_run_is_recorded_in_its_status(
    run: RunDirectory, error: BaseException, state: str, code: int
) -> None:
    progress = TrainState()
    run.path.mkdir(parents=True)
    with pytest.raises(type(error)), running(run, progress, run_id=ID):
        progress.step = 3
        raise error
    status = status_of(run)
    assert (status.state, status.exit_code, status.step) == (state, code, 3)
    assert str(error) in str(status.reason)


def test_on_a_full_disk_the_first_error_is_raised_and_not_that_of_its_record(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SaveError("no room for the status")

    run.path.mkdir(parents=True)
    with pytest.raises(DataError, match="the first"), running(run, TrainState(), run_id=ID):
        monkeypatch.setattr(model_foundry.experiment.run_directory, "write_text", full)
        raise DataError("the first")


# --- where a run may be ---------------------------------------------------------------------------


def test_an_empty_a_new_and_a_used_directory_are_usable(run: RunDirectory) -> None:
    run.require_usable()
    assert not run.path.parent.exists()
    for name in (".tmp-status.json-7", ".del-model-x", ".lock", "tokenizer"):
        (run.path / name).mkdir(parents=True)
        run.require_usable()
    run.config_file.touch()
    (run.path / "notes.txt").touch()
    run.require_usable()


def test_a_directory_that_holds_something_else_is_refused(run: RunDirectory) -> None:
    run.tokenizer.mkdir(parents=True)
    (run.path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"holds other files \(thesis\.tex\)"):
        run.require_usable()


def test_a_file_is_no_run_directory(run: RunDirectory) -> None:
    run.path.parent.mkdir()
    run.path.touch()
    with pytest.raises(ConfigError, match=r"output_dir: .* is a file; name a directory"):
        run.require_usable()
    below = RunDirectory(run.path / "below")
    with pytest.raises(SaveError, match=r"cannot be created: .*mine is a file, not a directory"):
        below.require_usable()
    with pytest.raises(SaveError, match=r"output_dir: .* cannot be created"), below.held():
        raise AssertionError("must not start")


# --- one process at a time ------------------------------------------------------------------------


def test_a_held_run_is_refused_and_its_holder_named(run: RunDirectory) -> None:
    holder = rf"mine: is in use by process {os.getpid()} on \S+ since 20\d\d-"
    with run.held():
        with pytest.raises(LockedError, match=holder), run.held():
            raise AssertionError("must not start")
        assert run.lock_file.exists()  # the second attempt took nothing away
    with run.held():
        pass


def test_what_was_made_only_for_the_lock_goes_again(run: RunDirectory) -> None:
    outside = run.path.parent.parent
    for _ in range(2):
        with run.held():
            assert run.lock_file.exists()
        assert list(outside.iterdir()) == []
    with pytest.raises(KeyError), run.held():
        raise KeyError
    assert list(outside.iterdir()) == []
    run.path.mkdir(parents=True)
    with run.held():
        pass
    assert list(outside.rglob("*")) == [run.path.parent, run.path]


def test_a_started_run_stays_with_its_lock(run: RunDirectory) -> None:
    with run.held():
        run.config_file.touch()
    assert {path.name for path in run.path.iterdir()} == {".lock", "config.yaml"}


def test_a_run_may_be_moved_aside_while_it_is_held(run: RunDirectory) -> None:
    with run.held():
        run.config_file.touch()
        moved = run.move_aside()
        with run.held():
            run.config_file.touch()
    assert moved is not None
    assert (moved / "config.yaml").exists() and run.config_file.exists()


def test_without_locks_nothing_is_held(run: RunDirectory) -> None:
    with run.held(lock=False), run.held(lock=False):
        assert not run.lock_file.exists()
    assert not run.path.exists()


def test_debris_goes_and_nothing_else(run: RunDirectory) -> None:
    kept = [run.checkpoints / "step-00000001", run.checkpoints / "damaged-step-00000002"]
    left = [
        run.path / ".del-model-a",
        run.checkpoints / ".tmp-step-00000003-b",
        run.evaluation / ".tmp-c",
    ]
    for directory in (*kept, *left):
        directory.mkdir(parents=True)
        (directory / "file").touch()
    (run.path / ".tmp-status.json-17").write_text("{")
    assert sorted(run.remove_debris()) == sorted(
        [*(path.name for path in left), ".tmp-status.json-17"]
    )
    assert all((path / "file").exists() for path in kept)
    assert not any(path.exists() for path in left)


# --- what a run holds -----------------------------------------------------------------------------


def test_moving_aside_numbers_the_old_runs(run: RunDirectory) -> None:
    assert run.move_aside() is None
    for number in (1, 2):
        run.path.mkdir(parents=True)
        run.config_file.write_text(f"number: {number}\n")
        moved = run.move_aside()
        assert moved == run.path.with_name(f"mine.old-{number}")
        assert RunDirectory(moved).config_file.read_text() == f"number: {number}\n"
        assert not run.path.exists()


def test_checkpoints_sort_by_step(run: RunDirectory) -> None:
    steps = [7, 100, 12_345_678]
    names = [run.checkpoint(step).name for step in steps]
    assert names == ["step-00000007", "step-00000100", "step-12345678"]
    assert sorted(names) == names


def test_the_configuration_of_a_run_is_the_one_that_was_saved(tmp_path: Path) -> None:
    config = tiny_experiment("gpt2", tmp_path)
    run = RunDirectory(config.output_dir)
    with pytest.raises(ConfigError, match=r"is not the directory of a run \(it has no config"):
        run.config()
    run.path.mkdir()
    run.config_file.write_text(save_config(config, ["a note"]))
    assert run.config() == config


def test_a_measurement_is_one_readable_file(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    path = run.write_measurement("loss-step-00000007", {"eval/loss": 1.5, "text": "ä"})
    assert path == run.evaluation / "loss-step-00000007.json"
    assert json.loads(path.read_text(encoding="utf-8")) == {"eval/loss": 1.5, "text": "ä"}
    assert run.measurement("loss-step-00000007") == {"eval/loss": 1.5, "text": "ä"}


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "\\xff"])
def test_a_measurement_that_cannot_be_read_is_none(run: RunDirectory, text: str | None) -> None:
    run.evaluation.mkdir(parents=True)
    if text is not None:
        (run.evaluation / "loss.json").write_text(text)
    assert run.measurement("loss") is None


def test_a_diagnosis_has_a_place_of_its_own(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    path = run.write_diagnosis("not-finite-step-00000003", {"step": 3})
    assert path == run.diagnostics / "not-finite-step-00000003.json"
    assert json.loads(path.read_text()) == {"step": 3}


def test_the_newest_model_is_the_final_one_or_else_that_of_the_last_step(
    run: RunDirectory,
) -> None:
    assert newest_model(run.path) is None
    for step in (99_999_999, 100_000_000, 20):
        commit(run.checkpoint(step))
    (run.checkpoints / "step-200000000").mkdir()  # being written, by a version that did so in place
    (run.checkpoints / "damaged-step-00000030").mkdir()
    assert newest_model(run.path) == run.checkpoint(100_000_000)
    run.model.mkdir()
    assert newest_model(run.path) == run.checkpoint(100_000_000)
    run.model.rmdir()
    commit(run.model)
    assert newest_model(run.path) == run.model
    assert find_model(run.path) == run.model


def test_a_damaged_model_of_a_run_is_refused(run: RunDirectory) -> None:
    commit(run.checkpoint(1))
    commit(run.checkpoint(2))
    (run.checkpoint(2) / "file").write_text("x")
    with pytest.raises(CheckpointError, match=r"step-00000002: damaged, file differs .*; name ano"):
        find_model(run.path)
    with pytest.raises(CheckpointError, match="step-00000002: damaged"):
        find_model(run.checkpoint(2))
    assert find_model(run.checkpoint(1)) == run.checkpoint(1)
    (run.checkpoint(1) / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match=r"step-00000001: damaged, manifest.* is missing"):
        find_model(run.checkpoint(1))
