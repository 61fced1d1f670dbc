"""Writing that fails: a full disk at every file, errors of the device, and missing permissions.

The full disks are real: a small tmpfs, filled up to where exactly one file no longer fits. Where no
file system can be mounted, the limit of the system on the size of a file replaces it.
"""

import errno
import gc
import os
import resource
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from model_foundry.errors import SaveError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.atomic_files import MANIFEST
from tests.children import in_child
from tests.faults.runs import (
    debris,
    faults_of_finished,
    train_smallest,
    whole_steps,
)

pytestmark = pytest.mark.slow

PAGE = 4096  # bytes; what tmpfs gives to a file at a time
SECOND_SAVE = "step-00000004"
BALLAST = "ballast"
NOBODY = 65534


# --- a small disk ---------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of four mebibytes, in a name space of its own where that takes one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0:
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
        return
    if shutil.which("unshare") is None:
        pytest.skip("no file system can be mounted here")
    # a process that does nothing but to keep a name space with the disk; it is seen through /proc
    script = 'mount -t tmpfs -o size=4m tmpfs "$0" && echo mounted && exec cat'
    with subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        if keeper.stdout.readline() != b"mounted\n":
            pytest.skip("no file system can be mounted here")
        yield Path(f"/proc/{keeper.pid}/root{place}")
        keeper.stdin.close()


def free(place: Path) -> int:
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


def fill(disk: Path, *, room: int = 0) -> None:
    """Leave so many bytes on a disk."""
    gc.collect()  # garbage that views deleted files would free their space later, at any time
    with (disk / BALLAST).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free(disk) - room)
    assert free(disk) == room


def pages(size: int) -> int:
    """Return the bytes that a file of `size` bytes takes."""
    return -(-size // PAGE) * PAGE


def when(point: str, action: Callable[[], object], *, time: int = 1) -> Callable[[str], None]:
    """Return a watcher that acts once, when a point with this end is reached for that time."""
    reached = 0

    def watch(name: str) -> None:
        nonlocal reached
        reached += name.endswith(point)
        if name.endswith(point) and reached == time:
            action()

    return watch


def in_order_of_writing(directory: Path) -> list[Path]:
    return sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def require_a_clear_refusal(error: SaveError, place: Path, *, left: int | None = None) -> None:
    """Hold an error to what a user needs to know: where, how much, and how much there is."""
    message = str(error)
    assert error.exit_code == 8
    assert "\n" not in message
    assert str(place) in message
    assert "bytes" in message
    if left is not None:
        assert f"{left:,} are free" in message


def finish_with_room(corpus: Path, directory: Path, reference: Path, disk: Path) -> None:
    """Run to the end once there is room on the disk."""
    (disk / BALLAST).unlink()
    train_smallest(corpus, directory)
    assert not faults_of_finished(directory, reference)


# --- the disk is full -----------------------------------------------------------------------------


def test_full_at_each_file_of_a_save(disk: Path, corpus: Path, reference: Path) -> None:
    written = in_order_of_writing(reference / "checkpoints" / SECOND_SAVE)
    assert written[-1].name == MANIFEST
    for number, file in enumerate(written):
        directory = disk / str(number)
        target = directory / "run" / "checkpoints" / SECOND_SAVE
        fits = sum(pages(path.stat().st_size) for path in written[:number])
        room = fits + pages(file.stat().st_size) - PAGE

        with pytest.raises(SaveError) as refused:
            around = when(f"{SECOND_SAVE}: made aside", partial(fill, disk, room=room))
            train_smallest(corpus, directory, around=around)
        require_a_clear_refusal(refused.value, target, left=0 if room == fits else None)
        assert not target.exists()
        assert not debris(directory), file.name
        assert whole_steps(directory / "run") == [2]

        finish_with_room(corpus, directory, reference, disk)
        shutil.rmtree(directory)


def test_a_save_that_just_fits_is_made(disk: Path, corpus: Path, reference: Path) -> None:
    written = in_order_of_writing(reference / "checkpoints" / SECOND_SAVE)
    fits = sum(pages(path.stat().st_size) for path in written)

    around = when(f"{SECOND_SAVE}: made aside", lambda: fill(disk, room=fits))
    with pytest.raises(SaveError) as refused:  # nothing is left for the status
        train_smallest(corpus, disk, around=around)
    assert refused.value.exit_code == 8
    assert "status.json" in str(refused.value)
    assert whole_steps(disk / "run") == [2, 4]
    assert not debris(disk)

    finish_with_room(corpus, disk, reference, disk)


@pytest.mark.parametrize(
    ("point", "time"),
    [
        (": made aside", 1),  # the trained tokenizer
        (": made aside", 2),  # the tokens of the training text
        (": made aside", 3),  # those of the validation text
        ("tokenizer: made aside", 1),
        ("step 1 made", 1),
        ("model: made aside", 1),
        ("model: verified", 1),  # before the last measurement
    ],
)
def test_full_anywhere_else(
    point: str, time: int, disk: Path, corpus: Path, reference: Path
) -> None:
    with pytest.raises(SaveError) as refused:
        train_smallest(corpus, disk, around=when(point, lambda: fill(disk), time=time))
    assert refused.value.exit_code == 8
    assert str(disk) in str(refused.value)
    assert "No space left on device" in str(refused.value)
    assert not debris(disk)

    finish_with_room(corpus, disk, reference, disk)


def test_on_a_full_disk_nothing_starts(disk: Path, corpus: Path, reference: Path) -> None:
    fill(disk)
    with pytest.raises(SaveError):
        train_smallest(corpus, disk)
    assert not (disk / "run").exists()
    finish_with_room(corpus, disk, reference, disk)


def test_where_only_the_log_is_full_the_last_step_is_saved(
    disk: Path, corpus: Path, reference: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "elsewhere"
    log = directory / "run" / "metrics.jsonl"

    def move_the_log_to_a_full_disk() -> None:
        shutil.move(log, disk / "log")
        log.symlink_to(disk / "log")
        with (disk / "log").open("ab") as file:  # its last page is full as well
            file.write(b" " * (-(disk / "log").stat().st_size % PAGE))
        fill(disk)

    with pytest.raises(SaveError, match=r"metrics\.jsonl: cannot be written") as refused:
        train_smallest(corpus, directory, around=when("step 3 made", move_the_log_to_a_full_disk))
    assert refused.value.exit_code == 8
    assert whole_steps(directory / "run") == [2, 3]
    status = RunDirectory(directory / "run").status()
    assert status is not None
    assert (status.state, status.exit_code, status.last_good_step) == ("failed", 8, 3)

    (disk / BALLAST).unlink()
    train_smallest(corpus, directory)
    # the line that could not be written is missing, and nothing else
    found = faults_of_finished(directory, reference)
    assert found.pop(0) == "log: 11 lines and 10"
    assert all(line.startswith("log") for line in found)


def test_a_log_that_ends_in_the_middle_of_a_line_is_continued(
    corpus: Path, reference: Path, tmp_path: Path
) -> None:
    log = tmp_path / "run" / "metrics.jsonl"

    def stop() -> None:
        raise SaveError("stop here")

    with pytest.raises(SaveError, match="stop here"):
        train_smallest(corpus, tmp_path, around=when("step 5 made", stop))
    with log.open("a") as file:
        file.write('{"step": 5, "attempt": 1, "ti')
    train_smallest(corpus, tmp_path)
    assert not faults_of_finished(tmp_path, reference)


# --- the same without a disk of one's own ---------------------------------------------------------


@pytest.mark.parametrize("largest", ["optimizer.safetensors", "model.safetensors", "config.json"])
def test_no_file_may_grow_to_its_size(
    largest: str, corpus: Path, reference: Path, tmp_path: Path
) -> None:
    limit = (reference / "checkpoints" / SECOND_SAVE / largest).stat().st_size - 1
    stderr = in_child(train_with_small_files, corpus, tmp_path, limit, code=8).stderr
    target = tmp_path / "run" / "checkpoints" / SECOND_SAVE
    assert f"error: {target}: cannot be written" in stderr
    assert " bytes and " in stderr and " are free" in stderr
    assert not target.exists()
    assert not debris(tmp_path)
    assert whole_steps(tmp_path / "run") == [2]
    train_smallest(corpus, tmp_path)
    assert not faults_of_finished(tmp_path, reference)


def train_with_small_files(corpus: Path, directory: Path, limit: int) -> None:
    """Train while no file may grow beyond `limit` bytes, from the second save on."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def shrink() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))

    try:
        train_smallest(corpus, directory, around=when(f"{SECOND_SAVE}: made aside", shrink))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- the device fails -----------------------------------------------------------------------------


def flushed(descriptor: int) -> Path | None:
    """Return what is flushed; None: it belongs to the hashes, which are kept as time allows."""
    place = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    return None if "hashes" in place.parts else place


def syncs_of_a_run(corpus: Path, directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the name of each file and directory in the order in which a run flushes them."""
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        if place := flushed(descriptor):
            synced.append(place.name)
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", note)
        train_smallest(corpus, directory)
    return synced


def test_an_error_of_the_device_at_any_flush_ends_the_run_and_harms_nothing(
    corpus: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = syncs_of_a_run(corpus, tmp_path / "noted", monkeypatch)
    logs = [number for number, name in enumerate(synced) if name == "metrics.jsonl"]
    second_save = range(logs[1], logs[2])
    assert {"model.safetensors", MANIFEST, "checkpoints"} <= {synced[n] for n in second_save}
    for failing in second_save:
        directory = tmp_path / str(failing)
        with monkeypatch.context() as patch, pytest.raises(SaveError) as refused:
            patch.setattr(os, "fsync", failing_at(failing))
            train_smallest(corpus, directory)
        assert refused.value.exit_code == 8
        assert os.strerror(errno.EIO) in str(refused.value)
        assert str(directory / "run") in str(refused.value)
        assert 2 in whole_steps(directory / "run"), synced[failing]
        assert not debris(directory), synced[failing]
        train_smallest(corpus, directory)
        assert not faults_of_finished(directory, reference), synced[failing]
        shutil.rmtree(directory)


def failing_at(number: int) -> Callable[[int], None]:
    """Return an fsync that fails at its call of that number, from 0."""
    calls, real = 0, os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += flushed(descriptor) is not None
        if flushed(descriptor) and calls == number + 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    return fsync


def test_a_device_that_writes_something_else_is_noticed(
    corpus: Path, reference: Path, tmp_path: Path
) -> None:
    target = tmp_path / "run" / "checkpoints" / SECOND_SAVE

    def change_what_was_written() -> None:
        content = bytearray((target / "optimizer.safetensors").read_bytes())
        content[-1] ^= 1
        (target / "optimizer.safetensors").write_bytes(content)

    with pytest.raises(SaveError, match=r"reads back differently") as refused:
        around = when(f"{SECOND_SAVE}: renamed", change_what_was_written)
        train_smallest(corpus, tmp_path, around=around)
    assert refused.value.exit_code == 8
    assert whole_steps(tmp_path / "run") == [2]
    train_smallest(corpus, tmp_path)
    assert not faults_of_finished(tmp_path, reference)
    assert (target.parent / f"damaged-{SECOND_SAVE}").is_dir()


# --- writing is not allowed -----------------------------------------------------------------------


@pytest.fixture
def of_nobody() -> Iterator[Path]:
    """Return a directory that belongs to a user without rights, where this one has them all."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if os.getuid() == 0:
            os.chown(place, NOBODY, NOBODY)
        place.chmod(0o755)
        yield place
        for path in (place, *place.rglob("*")):
            path.chmod(path.stat().st_mode | stat.S_IRWXU)


@pytest.fixture
def readable_corpus(corpus: Path, of_nobody: Path) -> Path:
    place = Path(shutil.copytree(corpus, of_nobody / "corpus"))
    place.chmod(0o755)
    return place


def without_rights(function: Callable[[Path, Path], None], corpus: Path, directory: Path) -> None:
    """Train as a user for whom permissions count."""
    if os.getuid() == 0:
        with tempfile.TemporaryDirectory() as warm:  # what is imported late may lie out of reach
            train_smallest(corpus, Path(warm))
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    function(corpus, directory)


def test_a_place_where_nothing_may_be_written_is_refused_before_anything_is_read(
    of_nobody: Path, readable_corpus: Path
) -> None:
    (of_nobody / "closed").mkdir(mode=0o555)
    closed = of_nobody / "closed" / "below"
    stderr = in_child(without_rights, train_smallest, readable_corpus, closed, code=8).stderr
    assert f"error: output_dir: {closed / 'run'} cannot be created" in stderr
    assert not closed.exists()


def test_a_cache_that_may_not_be_written_is_named(of_nobody: Path, readable_corpus: Path) -> None:
    (of_nobody / "cache").mkdir(mode=0o555)
    stderr = in_child(without_rights, train_smallest, readable_corpus, of_nobody, code=8).stderr
    assert f"error: {of_nobody / 'cache'}" in stderr
    assert "Permission denied" in stderr and "Traceback" not in stderr
    assert not (of_nobody / "run").exists()


def test_rights_that_go_away_between_two_saves_lose_nothing(
    of_nobody: Path, readable_corpus: Path, reference: Path
) -> None:
    ended = in_child(without_rights, train_and_be_shut_out, readable_corpus, of_nobody, code=8)
    checkpoints = of_nobody / "run" / "checkpoints"
    assert f"error: {checkpoints / SECOND_SAVE}: cannot be written" in ended.stderr
    assert "Permission denied" in ended.stderr
    assert whole_steps(of_nobody / "run") == [2]
    checkpoints.chmod(0o755)
    in_child(without_rights, train_smallest, readable_corpus, of_nobody, code=0)
    assert not faults_of_finished(of_nobody, reference)


def train_and_be_shut_out(corpus: Path, directory: Path) -> None:
    """Train, and lose the right to write among the checkpoints after the third step."""
    checkpoints = directory / "run" / "checkpoints"
    train_smallest(corpus, directory, around=when("step 3 made", lambda: checkpoints.chmod(0o555)))
