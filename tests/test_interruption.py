"""Whatever stops a run, no saved progress is lost, and the run resumes from there.

Signals at every stage, to one process and to its whole group; processes that die; a terminal that
goes away; numbers that are none.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.utils.data import _utils

from model_foundry.config import save_config
from model_foundry.doctor.same_run import differences
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.atomic_files import find_damage
from model_foundry.foundation.interrupts import handle_signals
from model_foundry.foundation.locks import exclusive
from model_foundry.training.checkpoint.choice import step_directories
from tests.children import (
    KILLED,
    STOPPED,
    Fault,
    before,
    in_child,
    send,
    train_in_child,
    train_with,
)
from tests.experiments import three_passes, tiny_experiment
from tests.waiting import terminated_at, wait_until

pytestmark = pytest.mark.slow

KIND = "lstm"
TERM, INT, HUP, KILL = signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL
WORKERS = "training.dataloader_num_workers=2"
TAKE_STEP = "model_foundry.training.step:Learner.take_step"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interruption")


@pytest.fixture(scope="module")
def settings(place: Path) -> tuple[str, ...]:
    return (*three_passes(place), f"data.test={place / 'held-out.txt'}")


@pytest.fixture(scope="module")
def whole(place: Path, settings: tuple[str, ...]) -> Path:
    """A run that nothing interrupted."""
    train_in_child(KIND, place, *settings, code=0)
    return place / "run"


def train_struck(
    directory: Path,
    overrides: tuple[str, ...],
    target: str,
    number: int,
    strike: Callable[..., None],
    *arguments: Any,
) -> None:
    """Train, and call `strike` right before the call with that number of a function."""
    before(target, partial(strike, *arguments), call=number)
    train_with(KIND, directory, overrides, None, {})


def steps_saved(run: Path) -> list[int]:
    """Return the steps of the checkpoints, which must be whole."""
    paths = step_directories(run / "checkpoints")
    assert [find_damage(path) for path in paths] == [None] * len(paths)
    return [int(path.name.removeprefix("step-")) for path in paths]


def must_end_like(whole: Path, directory: Path, *overrides: str) -> None:
    """Run the same command again, which must end like the uninterrupted run."""
    train_in_child(KIND, directory, *overrides, code=0)
    assert differences(whole, directory / "run") == []


# --- one signal -----------------------------------------------------------------------------------

MOMENTS = {  # function before which the signal comes, its call, last step saved; None: no run yet
    "reading": ("model_foundry.data.sources.files:opened", 1, None),
    "training the tokenizer": (
        "model_foundry.tokenizer.tokenizer_factory:TokenizerFactory.train",
        1,
        None,
    ),
    "tokenizing": ("model_foundry.data.tokens.tokenize:_encode", 1, None),
    "before the first step": ("model_foundry.experiment.train:create_model", 1, 0),
    "in the first step": (TAKE_STEP, 1, 1),
    "in a step": (TAKE_STEP, 7, 7),
    "in an evaluation": ("model_foundry.experiment.measure_split:measure", 2, 6),
    "in a save": ("model_foundry.training.checkpoint.optimizer_state:save_file", 2, 8),
    "in the last save": ("model_foundry.training.checkpoint.optimizer_state:save_file", 5, 18),
    "in the last evaluation": ("model_foundry.experiment.measure_split:measure", 6, 18),
    "in the last measurements": ("model_foundry.experiment.result:save_model", 1, 18),
}
SIGNALLED = [
    *((moment, TERM) for moment in MOMENTS),
    *((moment, number) for moment in ("reading", "in a step") for number in (INT, HUP)),
]


@pytest.mark.parametrize(
    ("moment", "number"), SIGNALLED, ids=[f"{s.name}-{moment}" for moment, s in SIGNALLED]
)
def test_a_signal_stops_the_run_where_it_can_resume(
    moment: str, number: signal.Signals, settings: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    target, call, saved = MOMENTS[moment]
    overrides = (*settings, f"data.cache_dir={tmp_path / 'cache'}")
    arguments = (tmp_path, overrides, target, call, send, number)
    stderr = in_child(train_struck, *arguments, code=STOPPED).stderr
    assert f"{number.name} during " in stderr
    assert "run the same command again to continue" in stderr
    if saved is None:
        assert not (tmp_path / "run").exists()
    else:
        assert steps_saved(tmp_path / "run")[-1:] == ([saved] if saved else [])
        status = RunDirectory(tmp_path / "run").status()
        assert status is not None
        assert (status.state, status.exit_code, status.step) == ("interrupted", STOPPED, saved)
        assert status.last_good_step == (saved or None)
        assert status.reason is not None and number.name in status.reason
    must_end_like(whole, tmp_path, *overrides)


def test_a_signal_is_obeyed_while_a_lock_is_waited_for(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock"):
        ended = in_child(wait_for_a_lock, tmp_path / "lock", code=STOPPED, timeout=30)
    assert f"waiting for process {os.getpid()}" in ended.stderr


def wait_for_a_lock(path: Path) -> None:
    with handle_signals():
        threading.Timer(0.3, os.kill, (os.getpid(), TERM)).start()
        with exclusive(path, wait=True):
            pass


# --- more than one --------------------------------------------------------------------------------

IN_A_SAVE = "step-00000008: optimizer written"


def test_a_second_signal_names_the_save_in_progress(
    settings: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    fault = Fault(IN_A_SAVE, signal=TERM, repeated=2)
    ended = train_in_child(KIND, tmp_path, *settings, fault=fault, code=STOPPED)
    assert "SIGTERM: still waiting for the save of step 8; one more signal ends " in ended.stderr
    assert steps_saved(tmp_path / "run") == [4, 8]
    must_end_like(whole, tmp_path, *settings)


@pytest.mark.parametrize(("number", "code"), [(TERM, 143), (INT, 130)])
def test_a_third_signal_ends_at_once_and_harms_nothing(
    number: signal.Signals, code: int, settings: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    fault = Fault(IN_A_SAVE, signal=number, repeated=3)
    ended = train_in_child(KIND, tmp_path, *settings, fault=fault, code=code)
    assert f"{number.name}: ended at once, during the save of step 8" in ended.stderr
    assert steps_saved(tmp_path / "run") == [4]
    must_end_like(whole, tmp_path, *settings)


# --- processes that prepare batches ---------------------------------------------------------------


def in_a_group(
    pids: Path, directory: Path, overrides: tuple[str, ...], strike: Callable[..., None]
) -> None:
    """Train in a group of processes of its own, and strike in step 7."""
    for module in (_utils, _utils.worker):
        module.MP_STATUS_CHECK_INTERVAL = 0.5  # seconds after which a death is seen; torch has 5
    os.setsid()
    pids.write_text(str(os.getpid()))
    train_struck(directory, overrides, TAKE_STEP, 7, strike)


def stop_the_group() -> None:
    os.killpg(0, TERM)
    time.sleep(0.3)


def die() -> None:
    os.kill(os.getpid(), KILL)


def kill_a_worker() -> None:
    worker = multiprocessing.active_children()[0]
    assert worker.pid is not None
    os.kill(worker.pid, KILL)
    time.sleep(0.5)


def struck_group(
    directory: Path, settings: tuple[str, ...], strike: Callable[..., None], code: int
) -> str:
    """Run with workers until they are struck; no process may be left of it."""
    pids = directory / "pid"
    arguments = (pids, directory, (*settings, WORKERS), strike)
    stderr = in_child(in_a_group, *arguments, code=code, timeout=60).stderr
    wait_until(lambda: not group_exists(int(pids.read_text())))
    return stderr


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_signal_to_the_whole_group_stops_it_like_one_to_the_run(
    settings: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    stderr = struck_group(tmp_path, settings, stop_the_group, STOPPED)
    assert "Traceback" not in stderr and "DataLoader" not in stderr
    assert stderr.count("stopping at the next point") == 1
    assert steps_saved(tmp_path / "run") == [4, 7]
    must_end_like(whole, tmp_path, *settings, WORKERS)


def test_the_workers_of_a_killed_run_go_and_its_lock_is_free(
    settings: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    struck_group(tmp_path, settings, die, KILLED)
    assert steps_saved(tmp_path / "run") == [4]
    must_end_like(whole, tmp_path, *settings)


def test_a_killed_worker_is_named_and_nothing_is_lost(
    settings: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    """It dies while the step is made, which must not be torn in two."""
    began = time.monotonic()
    stderr = struck_group(tmp_path, settings, kill_a_worker, 9)
    assert time.monotonic() - began < 60
    (line,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: training.dataloader_num_workers (=2): DataLoader worker")
    assert "Traceback" not in stderr
    assert steps_saved(tmp_path / "run") == [4, 7]
    must_end_like(whole, tmp_path, *settings, WORKERS)


# --- a terminal that goes away --------------------------------------------------------------------


def close_stderr() -> None:
    os.close(2)


def fill_stderr() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)


def break_stderr() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 2)


@pytest.mark.parametrize("strike", [close_stderr, fill_stderr, break_stderr])
def test_a_run_continues_when_nobody_can_read_its_messages(
    strike: Callable[[], None], settings: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    stderr = in_child(train_struck, tmp_path, settings, TAKE_STEP, 7, strike, code=0).stderr
    assert "step 6/18" in stderr and "step 8/18" not in stderr
    assert differences(whole, tmp_path / "run") == []


# --- the real command -----------------------------------------------------------------------------


def command(directory: Path, *overrides: str) -> list[str]:
    config = directory / "experiment.yaml"
    config.write_text(save_config(tiny_experiment(KIND, directory, *overrides)))
    program = "from model_foundry.cli import main; main()"
    return [sys.executable, "-c", program, "train", str(config)]


def started(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def test_the_command_stops_and_resumes(
    settings: tuple[str, ...], whole: Path, tmp_path: Path
) -> None:
    words = command(tmp_path, *settings)
    with started(words) as process:
        stderr = terminated_at(process, "step 2/")
    assert process.returncode == STOPPED, stderr
    assert stderr.splitlines()[-1].startswith("error: SIGTERM: saved at step ")
    assert len(steps_saved(tmp_path / "run")) >= 1
    must_end_like(whole, tmp_path, *settings)


@pytest.mark.parametrize("number", [TERM, INT])
def test_a_signal_while_torch_is_imported_leaves_no_traceback(
    number: signal.Signals, settings: tuple[str, ...], tmp_path: Path
) -> None:
    with started(command(tmp_path, *settings)) as process:
        assert process.stderr is not None
        maps = Path(f"/proc/{process.pid}/maps")
        while "libtorch_cpu" not in maps.read_text():
            time.sleep(0.01)
        process.send_signal(number)
        stderr = process.stderr.read()
    assert process.returncode in (STOPPED, 130), stderr
    assert "Traceback" not in stderr and "error: " in stderr
    assert not (tmp_path / "run").exists()


# --- numbers that are none ------------------------------------------------------------------------


def not_a_number(loss: torch.Tensor) -> torch.Tensor:
    return loss * torch.nan


def infinite(loss: torch.Tensor) -> torch.Tensor:
    return loss + torch.inf


def without_gradient(loss: torch.Tensor) -> torch.Tensor:
    """Return the same loss, with a gradient that is none."""
    return loss + torch.sqrt(loss * 0)


def train_spoilt(
    directory: Path,
    overrides: tuple[str, ...],
    number: int,
    spoil: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """Train; the loss of the micro-batch with that number is spoilt."""
    from model_foundry.training.step import Learner

    combine, calls = Learner._combine, 0

    def spoilt(*arguments: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = combine(*arguments)
        return spoil(loss) if calls == number else loss

    Learner._combine = spoilt  # type: ignore[method-assign]
    train_with(KIND, directory, overrides, None, {})


@pytest.mark.parametrize(
    ("micro_batch", "spoil"),
    [(1, not_a_number), (2, not_a_number), (3, not_a_number), (3, infinite), (2, without_gradient)],
)
def test_what_is_no_number_stops_the_run_before_it_is_learned_from(
    micro_batch: int,
    spoil: Callable[[torch.Tensor], torch.Tensor],
    settings: tuple[str, ...],
    whole: Path,
    tmp_path: Path,
) -> None:
    number = 7 * 3 + micro_batch  # in step 8
    ended = in_child(train_spoilt, tmp_path, settings, number, spoil, code=7)
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    for part in (
        "step 8: loss ",
        "at learning rate 0.00778",
        "on examples ",
        "update was not made",
    ):
        assert part in line
    assert "The last checkpoint is step 4; to start again with other settings" in line
    path = tmp_path / "run" / "diagnostics" / "not-finite-step-00000008.json"
    assert str(path) in line
    facts = json.loads(path.read_text())
    assert facts["step"] == 8 and len(facts["examples"]) == 6
    log = [json.loads(text) for text in (whole / "metrics.jsonl").read_text().splitlines()]
    (healthy,) = [x for x in log if x["step"] == 8 and "train/loss" in x]
    assert facts["batch_digest"] == healthy["train/batch_digest"]
    assert facts["learning_rate"] == healthy["train/learning_rate"]
    assert steps_saved(tmp_path / "run") == [4]
    status = RunDirectory(tmp_path / "run").status()
    assert status is not None and (status.state, status.exit_code) == ("failed", 7)
    must_end_like(whole, tmp_path, *settings)


def test_a_learning_rate_that_destroys_the_model_reaches_no_checkpoint(
    settings: tuple[str, ...], tmp_path: Path
) -> None:
    absurd = ("training.learning_rate=1e20", "training.warmup_steps=0", "training.save_steps=1")
    train_in_child("gpt2", tmp_path, *settings, *absurd, code=7)
    saved = steps_saved(tmp_path / "run")
    assert len(saved) < 8
    for path in (tmp_path / "run").rglob("*.safetensors"):
        for tensor in load_file(path).values():
            assert torch.isfinite(tensor).all()
    assert not (tmp_path / "run" / "model").exists()
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
