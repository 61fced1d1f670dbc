"""kill -9 at every named point: of a save, of the cache, of the tokenizer and of the export.

The points are recorded from an uninterrupted run, so that new ones are tried as well.
"""

import re
from pathlib import Path

import pytest

from tests.children import KILLED, Fault, train_in_child
from tests.faults.runs import (
    HORIZON,
    KIND,
    SAVE_STEPS,
    debris,
    faults_of_finished,
    settings,
    starting_step,
    train_smallest,
    whole_steps,
)

pytestmark = pytest.mark.slow

RETAINED = "training.save_total_limit=2"
LAST_SAVE = f"step-{HORIZON:08d}"
THIRD_SAVE, DELETED_THEN = "step-00000006", "step-00000002"
DIGEST = r"[0-9a-f]{32}"
# The first directory of each place; the second of the two token streams is as the first.
FAMILIES = {
    "trained tokenizer": f"{DIGEST}: .*",
    "token cache": f"{DIGEST}: .*",
    "tokenizer of the run": "tokenizer: .*",
    "steps": r"step \d+ made",
    "save": f"{THIRD_SAVE}: .*",
    "retention": f"{DELETED_THEN}: (given up|deleted)",
    "export": "model: .*",
}


@pytest.fixture(scope="module")
def points(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the failpoints of an uninterrupted run, in their order."""
    reached: list[str] = []
    train_smallest(corpus, tmp_path_factory.mktemp("recorded"), RETAINED, around=reached.append)
    return reached


def of_family(points: list[str], family: str) -> list[str]:
    """Return the points of one of `FAMILIES`; caches differ by the order in which they are made."""
    named = [point for point in points if re.fullmatch(FAMILIES[family], point)]
    entries = list(dict.fromkeys(point.partition(":")[0] for point in named))
    order = {"trained tokenizer": 0, "token cache": 1}
    if family in order:
        return [point for point in named if point.startswith(entries[order[family]])]
    return named


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("trained tokenizer", ["made aside", "tokenizer.json flushed", "renamed", "verified"]),
        ("token cache", ["made aside", "tokens-00000.npy flushed", "manifest written", "renamed"]),
        ("tokenizer of the run", ["filled", "tokenizer.json flushed", "renamed", "verified"]),
        (
            "save",
            [
                "made aside",
                "model and processors written",
                "optimizer written",
                "filled",
                "model.safetensors flushed",
                "optimizer.safetensors flushed",
                "random_states.safetensors flushed",
                "state.json flushed",
                "manifest written",
                "renamed",
                "verified",
            ],
        ),
        ("retention", ["given up", "deleted"]),
        ("export", ["made aside", "model.safetensors flushed", "manifest written", "verified"]),
    ],
)
def test_every_place_has_its_points(points: list[str], family: str, expected: list[str]) -> None:
    ends = [point.partition(": ")[2] for point in of_family(points, family)]
    assert set(expected) <= set(ends)
    assert len(set(points)) == len(points)  # so that each can be struck by its name


@pytest.mark.parametrize("family", FAMILIES)
def test_killed_at_any_point_a_run_ends_as_if_nothing_had_happened(
    family: str, points: list[str], corpus: Path, reference: Path, tmp_path: Path
) -> None:
    found = {}
    for number, point in enumerate(of_family(points, family)):
        directory = tmp_path / str(number)
        overrides = settings(corpus, directory, RETAINED)
        killed = train_in_child(KIND, directory, *overrides, fault=Fault(point))
        faults = [] if killed.code == KILLED else [f"was not killed, but ended {killed.code}"]
        faults += faults_after_kill(directory, point, points)
        newest = max(whole_steps(directory / "run"), default=0)

        again = train_in_child(KIND, directory, *overrides)
        if again.code:
            faults.append(f"the second start ended {again.code}: {again.stderr[-500:]}")
        else:
            faults += faults_of_finished(directory, reference)
        if starting_step(again.stderr) != newest:
            faults.append(f"went on from {starting_step(again.stderr)}, {newest} was there")
        if faults:
            found[point] = faults
    assert not found


def faults_after_kill(directory: Path, point: str, points: list[str]) -> list[str]:
    """Return in what the disk is worse than it may be when a run died at `point`."""
    before = points[: points.index(point) + 1]
    made = max((int(p.split()[1]) for p in before if p.endswith(" made")), default=0)
    saved = [int(p[5:13]) for p in before if re.fullmatch(r"step-\d+: renamed", p)]
    whole = whole_steps(directory / "run")
    faults = []
    if max(saved, default=0) != max(whole, default=0):
        faults.append(f"{saved} were saved, and only {whole} are whole")
    if made - max(whole, default=0) > SAVE_STEPS:
        faults.append(f"{made} steps were made, and only {whole} are saved")
    return faults


@pytest.mark.parametrize("replaced", ["tokenizer", "model"])
def test_killed_while_a_directory_is_replaced(
    replaced: str, corpus: Path, reference: Path, tmp_path: Path
) -> None:
    overrides = settings(corpus, tmp_path)
    # what the first start had finished, the second makes again
    for point in (f"{replaced}: verified", f"{replaced}: old one moved away"):
        train_in_child(KIND, tmp_path, *overrides, fault=Fault(point), code=KILLED)
    assert not (tmp_path / "run" / replaced).exists()
    assert debris(tmp_path)

    train_in_child(KIND, tmp_path, *overrides, code=0)
    assert not faults_of_finished(tmp_path, reference)


def test_killed_at_every_save_a_run_still_comes_to_its_end(
    corpus: Path, reference: Path, tmp_path: Path
) -> None:
    overrides = settings(corpus, tmp_path, RETAINED)
    started = []
    for step in range(SAVE_STEPS, HORIZON + 1, SAVE_STEPS):
        fault = Fault(f"step-{step:08d}: verified")
        ended = train_in_child(KIND, tmp_path, *overrides, fault=fault, code=KILLED)
        started.append(starting_step(ended.stderr))
    assert started == list(range(0, HORIZON, SAVE_STEPS))
    train_in_child(KIND, tmp_path, *overrides, code=0)
    assert not faults_of_finished(tmp_path, reference)
