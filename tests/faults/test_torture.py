"""Kills at random moments and at every point of every save, over several architectures.

It takes minutes, and is left out unless it is asked for: `make torture`.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from model_foundry.experiment.train import train
from model_foundry.foundation.failpoints import watching
from tests.children import KILLED, Child, Ended, Fault, child_running, train_in_child, train_with
from tests.experiments import tiny_experiment
from tests.faults.runs import faults_of_finished, of_any_kind, starting_step, whole_steps

pytestmark = pytest.mark.torture

KILLS = 40  # for each of the runs below
LONGER = (
    "training.max_steps=60",
    "training.save_steps=4",
    "training.save_total_limit=2",
    "training.eval_steps=7",
)
RUNS = {
    **{kind: (kind,) for kind in ("gpt2", "bert", "llama", "lstm", "gru", "min_gru", "rnn")},
    "lstm, with two workers": ("lstm", "training.dataloader_num_workers=2"),
}
STOPPED = (KILLED, 75, -signal.SIGTERM)  # the last before the run listens to signals
MOST_ATTEMPTS = 200  # of one run; it takes some twenty


def uninterrupted(kind: str, corpus: Path, directory: Path, *overrides: str) -> list[str]:
    """Train without a fault, and return the failpoints in their order."""
    points: list[str] = []
    with watching(points.append):
        train(tiny_experiment(kind, directory, *of_any_kind(corpus, directory, *overrides)))
    return points


# --- at random ------------------------------------------------------------------------------------


def keep_looking(run: Path, stop: Path) -> None:
    """Look for a whole checkpoint again and again; once there was one, there must always be."""
    seen = False
    while not stop.exists():
        # between a listing and the reading, the oldest may have been deleted
        found = any(whole_steps(run) for _ in range(5))
        assert found or not seen, f"no whole checkpoint: {sorted(os.listdir(run / 'checkpoints'))}"
        seen = found


@contextmanager
def watched(directory: Path) -> Iterator[None]:
    """Have another process look at the checkpoints of a run for the length of the block."""
    stop = directory / "stop"
    with child_running(keep_looking, directory / "run", stop) as watcher:
        yield
        stop.touch()
        ended = watcher.ended()
    stop.unlink()
    assert ended.code == 0, ended.stderr


def struck(child: Child, draw: random.Random) -> Ended:
    """Stop a run after a time that is drawn, mostly by SIGKILL, unless it ends before."""
    child.process.join(draw.uniform(0.02, 1.5))
    child.send(signal.SIGKILL if draw.random() < 0.8 else signal.SIGTERM)
    return child.ended()


def run_until_done(
    kind: str, directory: Path, overrides: tuple[str, ...], draw: random.Random
) -> int:
    """Start a run again and again, each time to be stopped at random; return how often it was."""
    for stopped in range(MOST_ATTEMPTS):
        newest = max(whole_steps(directory / "run"), default=0)
        with child_running(train_with, kind, directory, overrides, None, {}) as child:
            ended = struck(child, draw)
        if ended.code == 0:
            return stopped
        assert ended.code in STOPPED, ended.stderr
        begun = " resumes from " in ended.stderr
        assert starting_step(ended.stderr) == (newest if begun else 0), ended.stderr
    raise AssertionError(f"{MOST_ATTEMPTS} attempts, and still at {newest}")


@pytest.mark.parametrize("name", RUNS)
def test_killed_at_random_a_run_ends_as_if_nothing_had_happened(
    name: str, corpus: Path, tmp_path: Path
) -> None:
    kind, *overrides = RUNS[name]
    uninterrupted(kind, corpus, tmp_path / "reference", *LONGER)
    draw, kills, began = random.Random(name), 0, time.monotonic()
    for number in count():
        directory = tmp_path / str(number)
        directory.mkdir()
        with watched(directory):
            given = of_any_kind(corpus, directory, *LONGER, *overrides)
            kills += run_until_done(kind, directory, given, draw)
        assert not faults_of_finished(directory, tmp_path / "reference" / "run")
        if kills >= KILLS:
            break
    print(f"{name}: {kills} kills in {number + 1} runs, {time.monotonic() - began:.0f} seconds")


# --- at every point -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_killed_at_every_point_of_a_run_it_ends_as_if_nothing_had_happened(
    kind: str, corpus: Path, tmp_path: Path
) -> None:
    retained = "training.save_total_limit=2"
    points = uninterrupted(kind, corpus, tmp_path / "reference", retained)
    found = {}
    for number, point in enumerate(points):
        directory = tmp_path / str(number)
        overrides = of_any_kind(corpus, directory, retained)
        train_in_child(kind, directory, *overrides, fault=Fault(point), code=KILLED)
        again = train_in_child(kind, directory, *overrides)
        if again.code:
            found[point] = [f"ended {again.code}: {again.stderr[-500:]}"]
        elif faults := faults_of_finished(directory, tmp_path / "reference" / "run"):
            found[point] = faults
    assert not found
    print(f"{kind}: {len(points)} kills")
