"""Damaged checkpoints: found, named with the reason, and fallen back from.

Most cases search the newest usable checkpoint of a copy of one interrupted run; some train to the
end, where the run must equal the uninterrupted one.
"""

import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from model_foundry.errors import CheckpointError, FoundryError
from model_foundry.experiment.run_directory import RunDirectory
from model_foundry.foundation.atomic_files import MANIFEST, find_damage
from model_foundry.training.checkpoint.choice import newest_usable, step_directories
from tests.children import KILLED, Fault, train_in_child
from tests.experiments import snapshot
from tests.faults.runs import (
    KIND,
    debris,
    experiment,
    faults_of_finished,
    settings,
    train_smallest,
    whole_steps,
)
from tests.foundation.test_atomic_files import entry, reseal
from tests.hostile.test_files import PAYLOADS, Payload
from tests.waiting import computing_less_than

pytestmark = pytest.mark.slow

NEWEST = 6
STEPS = [2, 4, NEWEST]
SOON = 2.0  # seconds in which a checkpoint must have been inspected, whatever its content
Harm = Callable[[Path], object]


def name_of(step: int) -> str:
    return f"step-{step:08d}"


@pytest.fixture(scope="module")
def interrupted(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run that was killed after step 7, with three checkpoints."""
    directory = tmp_path_factory.mktemp("interrupted")
    fault = Fault("step 7 made")
    train_in_child(KIND, directory, *settings(corpus, directory), fault=fault, code=KILLED)
    assert whole_steps(directory / "run") == STEPS
    return directory


@pytest.fixture(scope="module")
def run_id(interrupted: Path) -> str:
    status = RunDirectory(interrupted / "run").status()
    assert status is not None
    assert status.run_id is not None
    return status.run_id


@pytest.fixture
def copied(interrupted: Path, tmp_path: Path) -> Path:
    """Return a copy of the interrupted run for a test to harm."""
    return Path(shutil.copytree(interrupted, tmp_path / "copied"))


@pytest.fixture
def newest(copied: Path) -> Path:
    """Return the newest checkpoint of the copy."""
    return copied / "run" / "checkpoints" / name_of(NEWEST)


def files_of(checkpoint: Path) -> list[str]:
    return sorted(path.name for path in checkpoint.iterdir())


def used(checkpoints: Path, run_id: str) -> int | None:
    """Return the step of the checkpoint that a restart uses."""
    found = newest_usable(checkpoints, run_id=run_id)
    return found and found.step


def rewrite_state(checkpoint: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change `state.json` and make the manifest fit."""
    state = json.loads((checkpoint / "state.json").read_text())
    change(state)
    (checkpoint / "state.json").write_text(json.dumps(state))
    reseal(checkpoint)


# --- what happens to a single file ----------------------------------------------------------------


def cut_to(size: Callable[[int], int]) -> Harm:
    return lambda path: os.truncate(path, size(path.stat().st_size))


def replace_by(make: Callable[[Path], object]) -> Harm:
    def harm(path: Path) -> None:
        path.unlink()
        make(path)

    return harm


def link_to_its_like(path: Path) -> None:
    """Lead to a file elsewhere with the very same bytes."""
    elsewhere = path.parent.parent.parent / f"elsewhere-{path.name}"
    shutil.copyfile(path, elsewhere)
    path.unlink()
    path.symlink_to(elsewhere)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def pretend_2_to_the_63(path: Path) -> None:
    """Claim a header longer than any memory, as the first eight bytes of safetensors can."""
    path.write_bytes(struct.pack("<Q", 2**63) + path.read_bytes()[8:])


def nest_deeply(path: Path) -> None:
    path.write_text("[" * 10**6)


def grow_beyond_all_json(path: Path) -> None:
    os.truncate(path, 2**26 + 1)  # sparse: it takes no room


HARMS: dict[str, Harm] = {
    "cut to nothing": cut_to(lambda size: 0),
    "cut to one byte": cut_to(lambda size: 1),
    "cut in half": cut_to(lambda size: size // 2),
    "cut by one byte": cut_to(lambda size: size - 1),
    "longer by one byte": grow,
    "deleted": Path.unlink,
    "a pipe": replace_by(os.mkfifo),
    "a directory": replace_by(Path.mkdir),
    "a link to the same bytes": link_to_its_like,
    "an endless device": replace_by(lambda path: path.symlink_to("/dev/zero")),
    "a link to itself": replace_by(lambda path: path.symlink_to(path)),
    "nested without end": nest_deeply,
    "a header of 2^63 bytes": pretend_2_to_the_63,
}


@pytest.mark.parametrize("harm", HARMS)
def test_harm_to_any_file_is_found_named_and_fallen_back_from(
    harm: str,
    interrupted: Path,
    run_id: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    original = interrupted / "run" / "checkpoints"
    for file in files_of(original / name_of(NEWEST)):
        place = Path(shutil.copytree(original, tmp_path / file / "checkpoints"))
        HARMS[harm](place / name_of(NEWEST) / file)
        caplog.clear()
        with computing_less_than(SOON):
            assert used(place, run_id) == 4, file
        assert f"{name_of(NEWEST)}: damaged, {file} " in caplog.text
        assert f"renamed to damaged-{name_of(NEWEST)}" in caplog.text
        assert len(list(place.iterdir())) == len(STEPS)  # nothing is thrown away


def flip(path: Path, bit: int) -> None:
    """Change one bit of a file in place."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def drawn(checkpoint: Path, seed: int) -> tuple[Path, int]:
    """Draw a file of a checkpoint and one of its bits."""
    draw = random.Random(seed)
    path = checkpoint / draw.choice(files_of(checkpoint))
    return path, draw.randrange(8 * path.stat().st_size)


def test_every_flipped_bit_is_found(newest: Path) -> None:
    missed, struck = [], set()
    for seed in range(200):
        path, bit = drawn(newest, seed)
        flip(path, bit)
        fault = find_damage(newest)
        if fault is None or path.name not in fault:
            missed.append((path.name, bit, fault))
        flip(path, bit)
        struck.add(path.name)
    assert not missed
    assert struck == set(files_of(newest))
    assert find_damage(newest) is None


FULL_RESUMES: dict[str, Harm] = {
    **{f"bit {seed}": lambda path, seed=seed: flip(*drawn(path, seed)) for seed in range(6)},
    "no optimizer": lambda path: (path / "optimizer.safetensors").unlink(),
    "empty manifest": lambda path: os.truncate(path / MANIFEST, 0),
    "a foreign file": lambda path: (path / "notes.txt").touch(),
    "a pipe for a manifest": lambda path: replace_by(os.mkfifo)(path / MANIFEST),
    "a pipe for a state": lambda path: replace_by(os.mkfifo)(path / "state.json"),
}


@pytest.mark.parametrize("harm", FULL_RESUMES)
def test_a_run_that_fell_back_ends_as_if_nothing_had_happened(
    harm: str, copied: Path, newest: Path, corpus: Path, reference: Path
) -> None:
    FULL_RESUMES[harm](newest)
    train_smallest(corpus, copied)
    assert not faults_of_finished(copied, reference)
    assert (newest.parent / f"damaged-{newest.name}").is_dir()
    assert whole_steps(copied / "run") == [*STEPS, 8]


def test_an_older_checkpoint_that_blocks_does_not_stop_the_run(
    copied: Path, newest: Path, corpus: Path, reference: Path
) -> None:
    oldest = newest.with_name(name_of(2))
    replace_by(os.mkfifo)(oldest / "state.json")
    train_smallest(corpus, copied, "training.save_total_limit=2")
    assert oldest.is_dir()  # retention deletes what it can read
    shutil.rmtree(oldest)
    assert not faults_of_finished(copied, reference)


# --- what happens between files and directories ---------------------------------------------------


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


@pytest.mark.parametrize(
    "file",
    [
        "model.safetensors",
        "optimizer.safetensors",
        "random_states.safetensors",
        "state.json",
        MANIFEST,
    ],
)
def test_files_swapped_between_two_checkpoints_are_found_in_both(
    file: str, newest: Path, run_id: str
) -> None:
    swap(newest / file, newest.with_name(name_of(4)) / file)
    assert used(newest.parent, run_id) == 2
    assert sorted(os.listdir(newest.parent)) == [
        f"damaged-{name_of(4)}",
        f"damaged-{name_of(NEWEST)}",
        name_of(2),
    ]


def test_swapped_checkpoints_are_found_by_their_names(
    copied: Path, newest: Path, corpus: Path, reference: Path, caplog: pytest.LogCaptureFixture
) -> None:
    swap(newest, newest.with_name(name_of(4)))
    train_smallest(corpus, copied)
    assert f"{MANIFEST} belongs to a directory '{name_of(4)}'" in caplog.text
    assert not faults_of_finished(copied, reference)


def test_a_later_checkpoint_of_another_run_is_never_resumed_from(
    copied: Path, newest: Path, corpus: Path, reference: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stale = newest.with_name(name_of(8))
    shutil.copytree(reference / "checkpoints" / stale.name, stale)
    train_smallest(corpus, copied, "training.save_total_limit=2")
    assert f"{stale.name}: belongs to another run" in caplog.text
    assert (newest.parent / f"other-run-{stale.name}").is_dir()
    assert not faults_of_finished(copied, reference)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff", b'{"state": "running"}'])
def test_a_run_resumes_without_its_status(
    content: bytes | None, copied: Path, corpus: Path, reference: Path
) -> None:
    status = copied / "run" / "status.json"
    status.unlink() if content is None else status.write_bytes(content)
    train_smallest(corpus, copied)
    assert not faults_of_finished(copied, reference)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_finished_run_is_finished_again_without_its_status(
    content: bytes, corpus: Path, reference: Path, tmp_path: Path
) -> None:
    shutil.copytree(reference, tmp_path / "run")
    (tmp_path / "run" / "status.json").write_bytes(content)
    train_smallest(corpus, tmp_path)
    assert not faults_of_finished(tmp_path, reference)


# --- forged manifests -----------------------------------------------------------------------------


def test_a_forged_manifest_is_what_the_package_itself_would_write(newest: Path) -> None:
    reseal(newest)
    (newest / ".nfs0001").touch()  # files of the system
    (newest / ".DS_Store").touch()
    assert find_damage(newest) is None


def change_counter(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda state: state["counters"].update({name: value})


def change_best(value: float) -> Callable[[dict[str, Any]], object]:
    return lambda state: state["counters"]["best"].update(value=value)


FORGED_STATES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a later step": change_counter("step", NEWEST + 1),
    "a negative step": change_counter("step", -1),
    "a step in words": change_counter("step", "six"),
    "a fraction of a step": change_counter("step", 6.5),
    "a fraction of a token": change_counter("seen", {"tokens": 1.5}),
    "other examples": change_counter("examples_seen", 1),
    "negative examples": change_counter("examples_seen", -8),
    "an endless loss": change_best(float("inf")),
    "a loss that is no number": change_best(float("nan")),
    "a counter too many": change_counter("luck", 7),
    "no counters": lambda state: state.pop("counters"),
    "counters in a list": lambda state: state.update(counters=[]),
    "no identity": lambda state: state.update(identity=None),
    "another format": lambda state: state.update(format=2),
    "a format in words": lambda state: state.update(format="3"),
    "a run without a name": lambda state: state.update(run_id=7),
    "no examples in a step": lambda state: state["identity"].update(examples_per_step=0),
}


OUTSIDE: list[Any] = [
    *("../outside", "/etc/hostname", "{absolute}", "a\0b", "n" * 5000),
    *("", ".", "..", 7, None, {}),
]
OTHER_MANIFESTS: list[dict[str, Any]] = [
    {"name": name_of(8)},
    {"name": None},
    {"format": 1},
    {"format": None},
    {"files": None},
    {"files": [1]},
    {"files": [[]]},
    {"files": [{"name": "state.json"}]},
]


def name_outside(checkpoint: Path, name: Any) -> None:
    """List a file that is not in the checkpoint."""
    outside = checkpoint.parent / "outside"
    outside.write_bytes(b"x")
    listed = json.loads((checkpoint / MANIFEST).read_text())["files"]
    name = str(outside) if name == "{absolute}" else name
    reseal(checkpoint, files=[*listed, entry(name, b"x")])


def write_a_number_beyond_all(checkpoint: Path) -> None:
    state = (checkpoint / "state.json").read_text()
    forged = state.replace('"value": ', '"value": 1e400, "x": ')
    (checkpoint / "state.json").write_text(forged)
    reseal(checkpoint)


FORGERIES: dict[str, Harm] = {
    **{name: partial(rewrite_state, change=change) for name, change in FORGED_STATES.items()},
    "a number beyond all": write_a_number_beyond_all,
    **{f"names {name!r:.20}": partial(name_outside, name=name) for name in OUTSIDE},
    **{str(each): partial(reseal, **each) for each in OTHER_MANIFESTS},
    "a foreign file": lambda path: (path / "extra.bin").write_bytes(b"x"),
}


@pytest.mark.parametrize("forged", FORGERIES)
def test_a_forged_checkpoint_is_fallen_back_from(
    forged: str, newest: Path, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    FORGERIES[forged](newest)
    assert used(newest.parent, run_id) == 4
    if forged in FORGED_STATES:
        assert f"{name_of(NEWEST)}/state.json" in caplog.text  # the digests are right


def test_a_checkpoint_cannot_be_moved_to_a_later_step(newest: Path, run_id: str) -> None:
    later = newest.rename(newest.with_name(name_of(7)))
    rewrite_state(later, change_counter("step", 7))
    assert used(later.parent, run_id) == 4


@pytest.mark.parametrize("file", [MANIFEST, "state.json"])
def test_a_file_of_a_gibibyte_is_not_read(
    file: str, newest: Path, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.truncate(newest / file, 2**30)  # sparse: it takes no room
    if file != MANIFEST:
        # the digest of so much would take a second; that it is right is what is forged here
        monkeypatch.setattr(
            "model_foundry.training.checkpoint.choice.find_damage", lambda path: None
        )
    with computing_less_than(SOON):
        assert used(newest.parent, run_id) == 4


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("harmed", ["state.json", "model.safetensors", MANIFEST])
def test_without_a_whole_checkpoint_nothing_starts_again(
    harmed: str, copied: Path, newest: Path, corpus: Path
) -> None:
    for path in step_directories(newest.parent):
        os.truncate(path / harmed, 1)
    before = snapshot(copied / "run")
    with pytest.raises(CheckpointError) as refused:
        train_smallest(corpus, copied)
    lines = str(refused.value).splitlines()
    assert refused.value.exit_code == 4
    assert "--fresh" in lines[0]
    assert all(name_of(step) in line for step, line in zip(STEPS[::-1], lines[1:], strict=True))
    assert all(harmed in line for line in lines[1:])
    assert snapshot(copied / "run") == before


def test_without_any_checkpoint_nothing_starts_again(
    copied: Path, newest: Path, corpus: Path
) -> None:
    shutil.rmtree(newest.parent)
    before = snapshot(copied / "run")
    with pytest.raises(CheckpointError, match=r"the checkpoint of step 6 is missing"):
        train_smallest(corpus, copied)
    assert snapshot(copied / "run") == before


# --- pickles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", PAYLOADS)
def test_a_pickle_in_a_checkpoint_is_fallen_back_from(
    wrap: Callable[[Payload], bytes], interrupted: Path, run_id: str, tmp_path: Path
) -> None:
    original, sentinel = interrupted / "run" / "checkpoints", tmp_path / "ran"
    for file in files_of(original / name_of(NEWEST)):
        place = Path(shutil.copytree(original, tmp_path / file / "checkpoints"))
        (place / name_of(NEWEST) / file).write_bytes(wrap(Payload(sentinel)))
        assert used(place, run_id) == 4
    assert not sentinel.exists()


def test_a_pickle_under_a_forged_manifest_never_runs(
    interrupted: Path, corpus: Path, reference: Path, tmp_path: Path
) -> None:
    sentinel, ended = tmp_path / "ran", {}
    for number, file in enumerate(files_of(interrupted / "run" / "checkpoints" / name_of(NEWEST))):
        directory = tmp_path / file
        shutil.copytree(interrupted, directory)
        newest = directory / "run" / "checkpoints" / name_of(NEWEST)
        (newest / file).write_bytes(PAYLOADS[number % len(PAYLOADS)](Payload(sentinel)))
        if file != MANIFEST:
            reseal(newest)
        try:
            train_smallest(corpus, directory)
            ended[file] = "done"
        except FoundryError as error:
            assert file in str(error) or newest.name in str(error)
            ended[file] = "refused"
    assert not sentinel.exists()
    for file in ("model.safetensors", "optimizer.safetensors", "random_states.safetensors"):
        assert ended[file] == "refused"
    assert ended["state.json"] == ended[MANIFEST] == "done"  # from the checkpoint before
    done = [tmp_path / file for file in ended if ended[file] == "done"]
    assert not [fault for d in done for fault in faults_of_finished(d, reference)]


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("model.safetensors", pretend_2_to_the_63),
        ("optimizer.safetensors", pretend_2_to_the_63),
        ("random_states.safetensors", pretend_2_to_the_63),
        ("config.json", nest_deeply),
        ("tokenizer.json", nest_deeply),
        ("config.json", grow_beyond_all_json),
        (
            "random_states.safetensors",
            lambda path: shutil.copyfile(path.with_name("optimizer.safetensors"), path),
        ),
        (
            "optimizer.safetensors",
            lambda path: shutil.copyfile(path.with_name("model.safetensors"), path),
        ),
    ],
)
def test_what_is_forged_within_a_file_is_refused_with_its_name(
    file: str, harm: Harm, copied: Path, newest: Path, corpus: Path
) -> None:
    harm(newest / file)
    reseal(newest)
    with pytest.raises(FoundryError) as refused:
        train_smallest(corpus, copied)
    assert newest.name in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code in (3, 4)
    assert not debris(copied)
    assert experiment(corpus, copied).output_dir == copied / "run"
