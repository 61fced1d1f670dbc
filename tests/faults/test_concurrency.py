"""Several processes at once: on one run, on one cache, and readers beside a run."""

import errno
import fcntl
import os
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from model_foundry.data.corpus.splits import open_splits
from model_foundry.data.tokens.tokenize import tokenize_split
from model_foundry.errors import FoundryError, LockedError, SaveError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.atomic_files import find_damage
from model_foundry.foundation.file_hashes import FileHashes
from model_foundry.generation import generate_texts
from model_foundry.model import load_model, newest_model
from model_foundry.tokenizer.loading import load_tokenizer
from model_foundry.tokenizer.tokenizer_factory import train_in_cache
from tests.children import KILLED, child_running
from tests.faults.runs import (
    debris,
    experiment,
    faults_of_finished,
    train_smallest,
    whole_steps,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def train_and_pause(corpus: Path, directory: Path, paused: Path, released: Path) -> None:
    """Train; after the third step, leave a file and wait."""

    def pause(point: str) -> None:
        if point == "step 3 made":
            paused.touch()
            wait_until(released.exists)

    train_smallest(corpus, directory, around=pause)


# --- two runs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fresh", [False, True])
def test_a_second_start_is_refused_at_once_and_harms_nothing(
    fresh: bool, corpus: Path, reference: Path, tmp_path: Path
) -> None:
    directory, paused, released = tmp_path / "own", tmp_path / "paused", tmp_path / "released"
    with child_running(train_and_pause, corpus, directory, paused, released) as first:
        wait_until(paused.exists)
        began = time.monotonic()
        with pytest.raises(LockedError) as refused:
            train_smallest(corpus, directory, fresh=fresh)
        assert time.monotonic() - began < 30  # it did not wait for the other
        assert refused.value.exit_code == 6
        message = str(refused.value)
        assert f"process {first.process.pid} on {socket.gethostname()} since " in message
        assert "\n" not in message
        released.touch()
        first.ended(code=0)
    assert not faults_of_finished(directory, reference)


def test_the_lock_of_a_killed_run_is_free(corpus: Path, reference: Path, tmp_path: Path) -> None:
    directory, paused = tmp_path / "own", tmp_path / "paused"
    with child_running(train_and_pause, corpus, directory, paused, tmp_path / "never") as first:
        wait_until(paused.exists)
        first.send(signal.SIGKILL)
        first.ended(code=KILLED)
    train_smallest(corpus, directory)
    assert not faults_of_finished(directory, reference)


# --- a reader beside a run ------------------------------------------------------------------------

MANY_SAVES = (
    "training.max_steps=60",
    "training.save_steps=1",
    "training.save_total_limit=2",
    "training.eval_steps=60",
)


def test_a_reader_beside_a_run_sees_whole_models_only(corpus: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    seen = set()
    with child_running(train_smallest, corpus, tmp_path, *MANY_SAVES) as trainer:
        while trainer.process.is_alive():
            newest = newest_model(run.path)
            if newest is None:
                continue
            try:
                model, tokenizer = load_model(newest), load_tokenizer(newest)
            except FoundryError:
                assert not newest.exists()  # a slow reader may come too late, and gets an error
                continue
            texts = generate_texts(model, tokenizer, ["the dog"], max_new_tokens=3)
            assert texts[0].startswith("the dog")
            seen.add(newest.name)
        trainer.ended(code=0)
    assert len(seen) > 5


def test_a_whole_checkpoint_exists_at_all_times(corpus: Path, tmp_path: Path) -> None:
    looks = 0
    with child_running(train_smallest, corpus, tmp_path, *MANY_SAVES) as trainer:
        wait_until(lambda: whole_steps(tmp_path / "run") or not trainer.process.is_alive())
        while trainer.process.is_alive():
            assert whole_now(tmp_path / "run")
            looks += 1
        trainer.ended(code=0)
    assert looks > 20
    assert whole_steps(tmp_path / "run") == [59, 60]
    assert not debris(tmp_path)


def whole_now(run: Path) -> list[int]:
    """Return the steps of the checkpoints that verify; one may be deleted while it is read."""
    for _ in range(5):
        if found := whole_steps(run):
            return found
    return []


# --- one cache ------------------------------------------------------------------------------------


def fill_cache(corpus: Path, directory: Path, ready: Path, go: Path) -> None:
    """Train the tokenizer and tokenise the text, when all are ready."""
    config = experiment(corpus, directory)
    training, cache = open_splits(config.data, seed=0).train, config.data.cache
    hashes = FileHashes(cache)
    ready.touch()
    wait_until(go.exists)
    place = train_in_cache(config.tokenizer, training, cache=cache, hashes=hashes)
    stream = tokenize_split(
        training, load_tokenizer(place), cache=cache, hashes=hashes, processes=2
    )
    assert stream.documents == 56


@pytest.mark.parametrize("number", [2, 4])
def test_processes_that_need_the_same_cache_make_it_once(
    number: int, corpus: Path, tmp_path: Path
) -> None:
    ready = [tmp_path / f"ready-{i}" for i in range(number)]
    with ExitStack() as stack:
        children = [
            stack.enter_context(child_running(fill_cache, corpus, tmp_path, path, tmp_path / "go"))
            for path in ready
        ]
        wait_until(lambda: all(path.exists() for path in ready))
        (tmp_path / "go").touch()
        stderr = "".join(child.ended(code=0).stderr for child in children)
    assert stderr.count("training a bpe tokenizer") == 1
    assert stderr.count("tokenizing the train text") == 1
    made = list((tmp_path / "cache").glob("token*/[!.]*"))
    assert len(made) == 2
    assert [find_damage(path) for path in made] == [None, None]
    assert not debris(tmp_path)


def test_a_cache_of_a_killed_process_is_made_by_the_one_that_waits(
    corpus: Path, tmp_path: Path
) -> None:
    paused = tmp_path / "paused"
    with child_running(train_and_stop_in_the_cache, corpus, tmp_path / "a", paused) as first:
        wait_until(paused.exists)
        cache = f"data.cache_dir={tmp_path / 'a' / 'cache'}"
        with child_running(train_smallest, corpus, tmp_path / "b", cache) as second:
            wait_until(lambda: "waiting for process" in Path(second.output.name).read_text())
            first.send(signal.SIGKILL)
            stderr = second.ended(code=0).stderr
    assert f"waiting for process {first.process.pid}" in stderr
    assert not debris(tmp_path)


def train_and_stop_in_the_cache(corpus: Path, directory: Path, paused: Path) -> None:
    """Train until the first entry of the cache is half made, and stay there."""

    def stay(point: str) -> None:
        paused.touch()
        time.sleep(60)

    train_smallest(corpus, directory, around=stay)


# --- no locks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_and_can_be_used(
    number: int,
    corpus: Path,
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(SaveError, match=r"this file system has no locks .*--no-lock") as refused:
        train_smallest(corpus, tmp_path)
    assert os.strerror(number) in str(refused.value)
    assert not RunDirectory(tmp_path / "run").holds_a_run()
    train_smallest(corpus, tmp_path, lock=False)
    assert not faults_of_finished(tmp_path, reference)
