"""A run on disk: when it may start, what its status says afterwards, how it is moved aside."""

import json
import os
from pathlib import Path

import pytest

from model_foundry.config import save_config
from model_foundry.errors import ConfigError, DataError, ResumeError, SaveError
from model_foundry.run_directory import RunDirectory, RunProgress, RunStatus, running
from tests.experiments import tiny_experiment

TEXT = "experiment_name: any\n"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "runs" / "mine")


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


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "running", "no_such_field": 1}'])
def test_a_damaged_status_is_named(run: RunDirectory, text: str) -> None:
    run.path.mkdir(parents=True)
    run.status_file.write_text(text)
    with pytest.raises(ConfigError, match=r"status\.json: is no status of a run"):
        run.status()


def test_the_status_follows_the_run(run: RunDirectory) -> None:
    progress = RunProgress()
    with running(run, TEXT, progress):
        assert run.config_file.read_text() == TEXT
        assert status_of(run).state == "running"
        assert status_of(run).exit_code is None
        progress.step, progress.last_good_step = 9, 8
    status = status_of(run)
    assert (status.state, status.step, status.last_good_step) == ("completed", 9, 8)
    assert status.exit_code == 0


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (KeyboardInterrupt(), "interrupted", 130),
        (DataError("no text"), "failed", 3),
        (ZeroDivisionError("ours"), "failed", 9),
    ],
)
def test_whatever_ends_a_run_stands_in_its_status(
    run: RunDirectory, error: BaseException, state: str, code: int
) -> None:
    progress = RunProgress()
    with pytest.raises(type(error)), running(run, TEXT, progress):
        progress.step = 3
        raise error
    status = status_of(run)
    assert (status.state, status.exit_code, status.step) == (state, code, 3)
    assert str(error) in str(status.reason)


def test_a_directory_that_holds_a_run_is_refused_as_it_is(run: RunDirectory) -> None:
    with running(run, TEXT, RunProgress()):
        pass
    before = run.status_file.read_bytes()
    expected = "already holds a run, completed at step 0, which is kept; start with --fresh"
    with pytest.raises(ResumeError, match=expected), running(run, "other", RunProgress()):
        raise AssertionError("must not start")
    assert run.status_file.read_bytes() == before
    assert run.config_file.read_text() == TEXT


def test_a_run_without_a_status_is_refused_too(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    run.config_file.write_text(TEXT)
    with pytest.raises(ResumeError, match=r"already holds a run which is kept"):
        run.require_free()


def test_a_directory_without_a_run_is_free(run: RunDirectory) -> None:
    run.require_free()
    run.tokenizer.mkdir(parents=True)
    run.require_free()


def test_a_file_is_no_run_directory(run: RunDirectory) -> None:
    run.path.parent.mkdir()
    run.path.touch()
    with pytest.raises(ConfigError, match=r"output_dir: .* is a file; name a directory"):
        run.require_free()
    with pytest.raises(SaveError, match=r"output_dir: .* cannot be made"):
        running(RunDirectory(run.path / "below"), TEXT, RunProgress()).__enter__()


def test_moving_aside_numbers_the_old_runs(run: RunDirectory) -> None:
    assert run.move_aside() is None
    for number in (1, 2):
        with running(run, f"number: {number}\n", RunProgress()):
            pass
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
    with running(run, save_config(config, ["a note"]), RunProgress()):
        pass
    assert run.config() == config


def test_a_measurement_is_one_readable_file(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    path = run.write_measurement("loss-step-00000007", {"eval/loss": 1.5, "text": "ä"})
    assert path == run.evaluation / "loss-step-00000007.json"
    assert json.loads(path.read_text(encoding="utf-8")) == {"eval/loss": 1.5, "text": "ä"}
