"""Choice of the checkpoint of a restart, those moved aside or refused, and retention."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from model_foundry import load_model, train
from model_foundry.errors import CheckpointError, ResumeError
from model_foundry.foundation.atomic_files import (
    MANIFEST,
    MANIFEST_FORMAT,
    commit_directory,
    find_damage,
)
from model_foundry.training.checkpoint import choice
from model_foundry.training.checkpoint.choice import (
    apply_retention,
    newest_usable,
    step_directories,
)
from model_foundry.training.checkpoint.state_file import STATE_FORMAT, CheckpointState, Counters
from model_foundry.training.run_fingerprint import RunFingerprint
from tests.experiments import tiny_experiment
from tests.foundation.test_atomic_files import forge

MINE, OTHER = "0123", "4567"
BLOCKS = 8
IDENTITY = RunFingerprint(
    config={}, content={}, examples_per_step=BLOCKS, total_steps=99, environment={}
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def save(place: Path, step: int, run_id: str = MINE, **changed: Any) -> Path:
    """Commit a checkpoint without a model, which is not needed to find the one to use."""
    counters = Counters(
        step=step,
        examples_seen=step * BLOCKS,
        seen={"tokens": 0},
        best=None,
        evaluations_since_best=0,
    )
    facts: dict[str, Any] = {
        "format": STATE_FORMAT,
        "run_id": run_id,
        "attempt": 1,
        "milestone": False,
        "counters": counters,
        "identity": IDENTITY,
        "random": {},
        "scaler": None,
    }
    state = CheckpointState(**(facts | changed))
    directory = place / f"step-{step:08d}"
    with commit_directory(directory) as aside:
        (aside / "state.json").write_text(state.model_dump_json())
        (aside / "weights").write_text("weights")
    return directory


def harm(directory: Path) -> Path:
    (directory / "weights").write_text("weightz")
    return directory


def used(place: Path, run_id: str | None = MINE) -> int | None:
    """Return the step of the checkpoint that a restart uses."""
    checkpoint = newest_usable(place, run_id=run_id)
    if checkpoint is None:
        return None
    assert checkpoint.path == place / f"step-{checkpoint.step:08d}"
    return checkpoint.step


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


# --- which one is used ----------------------------------------------------------------------------


def test_where_there_is_none_none_is_used(place: Path) -> None:
    assert used(place) is None
    place.mkdir()
    assert used(place) is None


def test_the_newest_is_the_one_of_the_last_step(place: Path) -> None:
    for step in (99_999_999, 100_000_000, 3):
        save(place, step)
    assert [path.name for path in step_directories(place)] == [
        "step-00000003",
        "step-99999999",
        "step-100000000",
    ]
    assert used(place) == 100_000_000
    assert len(names(place)) == 3


@pytest.mark.parametrize(
    "name", ["step-0000004", "step-0000000x", "step-00000004-old", ".tmp-step-00000004", "model"]
)
def test_other_directories_are_ignored(place: Path, name: str) -> None:
    save(place, 1)
    (place / name).mkdir()
    assert used(place) == 1
    assert (place / name).is_dir()


def test_damaged_ones_are_moved_aside_and_named(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2, 3, 4):
        save(place, step)
    harm(place / "step-00000004")
    (place / "step-00000003" / MANIFEST).unlink()
    assert used(place) == 2
    assert names(place) == [
        *("damaged-step-00000003", "damaged-step-00000004", "step-00000001", "step-00000002")
    ]
    four, three = caplog.messages
    assert (
        f"{place}/step-00000004: damaged, weights differs from what was saved; renamed to" in four
    )
    assert f"step-00000003: damaged, {MANIFEST} cannot be used (it is missing); renamed to" in three
    assert four.endswith("renamed to damaged-step-00000004; the run resumes from step-00000002")
    caplog.clear()
    assert used(place) == 2
    assert caplog.messages == []  # it is logged once


def test_what_becomes_of_a_newer_one_of_another_format_is_told(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(place, 1)
    save(place, 2, format=2)
    assert used(place) == 1
    assert caplog.messages == [
        f"{place}/step-00000002/state.json: has the format 2, and this version reads 3; renamed to "
        "other-format-step-00000002; the run resumes from step-00000001"
    ]


def test_older_checkpoints_are_not_inspected(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2, 3):
        save(place, step)
    looked = []
    find_damage = choice.find_damage
    monkeypatch.setattr(
        choice, "find_damage", lambda path: (looked.append(path.name), find_damage(path))[1]
    )
    assert used(place) == 3
    assert looked == ["step-00000003"]


def test_what_was_moved_aside_before_is_not_replaced(place: Path) -> None:
    save(place, 1)
    for number in range(3):
        harm(save(place, 2)).joinpath("number").write_text(str(number))
        assert used(place) == 1
    aside = ["damaged-step-00000002", "damaged-step-00000002-2", "damaged-step-00000002-3"]
    assert names(place) == [*aside, "step-00000001"]
    assert [(place / name / "number").read_text() for name in aside] == ["0", "1", "2"]


def test_those_of_another_run_are_moved_aside_and_named(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step, run_id in ((1, MINE), (2, MINE), (3, OTHER), (4, OTHER)):
        save(place, step, run_id)
    assert used(place) == 2
    assert names(place)[:2] == ["other-run-step-00000003", "other-run-step-00000004"]
    assert f"{place}/step-00000004: belongs to another run; renamed to other-run" in caplog.text


def test_a_run_that_is_not_known_is_that_of_the_newest(place: Path) -> None:
    save(place, 1, MINE)
    save(place, 2, OTHER)
    assert used(place, run_id=None) == 2


def test_milestones_without_an_optimizer_are_passed_over(place: Path) -> None:
    save(place, 1)
    save(place, 2, milestone=True)
    assert used(place) == 2  # which has one
    for step in (3, 4):
        save(place, step, milestone=True, random=None)
    assert used(place) == 2
    assert len(names(place)) == 4
    harm(place / "step-00000002")
    assert used(place) == 1
    assert names(place)[0] == "damaged-step-00000002"


def test_with_milestones_only_there_is_none(place: Path) -> None:
    save(place, 1, milestone=True, random=None)
    assert used(place) is None
    assert names(place) == ["step-00000001"]


def test_one_of_a_newer_version_is_refused_and_nothing_is_moved(place: Path) -> None:
    save(place, 1)
    forge(save(place, 2), format=MANIFEST_FORMAT + 1)
    harm(save(place, 3))
    before = names(place)
    with pytest.raises(ResumeError, match=r"step-00000002: written by a newer .* format 3; update"):
        used(place)
    assert names(place) == before


@pytest.mark.parametrize(
    ("damaged", "fault"), [(False, "of another format"), (True, "damaged or of another format")]
)
def test_checkpoints_of_another_format_are_not_called_damaged(
    damaged: bool, fault: str, place: Path
) -> None:
    save(place, 1, format=2)
    if damaged:
        harm(save(place, 2))
    with pytest.raises(CheckpointError) as refused:
        used(place)
    first, *reasons = str(refused.value).split("\n")
    assert first == (
        f"{place}: every checkpoint is {fault}; resume the run with the version that wrote it, or "
        "start again with --fresh, which moves this run aside"
    )
    assert "has the format 2, and this version reads 3" in reasons[-1]
    assert names(place)[-1].startswith("step-")
    save(place, 3)
    assert used(place) == 3


def test_one_of_another_format_is_moved_aside_from_an_older_one(place: Path) -> None:
    save(place, 1)
    save(place, 2, format=2)
    assert used(place) == 1
    assert names(place) == ["other-format-step-00000002", "step-00000001"]


def test_where_all_are_damaged_each_is_named_and_none_is_moved(place: Path) -> None:
    """They keep their names for repair, like those of another run."""
    for step in (1, 2):
        harm(save(place, step))
    save(place, 3, OTHER)
    save(place, 4, milestone=True, random=None)
    before = names(place)
    for _ in range(2):
        with pytest.raises(CheckpointError) as refused:
            used(place)
        first, *reasons = str(refused.value).split("\n")
        assert first.startswith(
            f"{place}: every checkpoint is damaged; restore one from a backup, or"
        )
        assert [reason.split(": ")[0].strip() for reason in reasons] == [
            f"{place}/step-00000002",
            f"{place}/step-00000001",
        ]
        assert names(place) == before
    assert refused.value.exit_code == 4


# --- retention ------------------------------------------------------------------------------------


def steps_left(place: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in step_directories(place)]


def test_the_newest_and_the_best_stay(place: Path) -> None:
    for step in range(1, 7):
        save(place, step)
    apply_retention(place, run_id=MINE, limit=3, values={1: 3.0, 2: 1.0, 3: 2.0, 6: 5.0})
    assert steps_left(place) == [2, 5, 6]
    apply_retention(place, run_id=MINE, limit=2, values={2: 1.0, 5: 0.5})
    assert steps_left(place) == [5, 6]
    assert names(place) == ["step-00000005", "step-00000006"]  # nor is anything left of others


def test_the_best_may_be_the_one_with_the_largest_value(place: Path) -> None:
    for step in range(1, 7):
        save(place, step)
    values = {1: 0.3, 2: 0.9, 3: 0.1, 6: 0.5}
    apply_retention(place, run_id=MINE, limit=3, values=values, greater_is_better=True)
    assert steps_left(place) == [2, 5, 6]
    apply_retention(place, run_id=MINE, limit=2, values=values, greater_is_better=True)
    assert steps_left(place) == [2, 6]


def test_without_a_limit_nothing_is_deleted(place: Path) -> None:
    for step in range(1, 7):
        save(place, step)
    apply_retention(place, run_id=MINE, limit=None, values={})
    assert steps_left(place) == [1, 2, 3, 4, 5, 6]


def test_the_best_is_the_best_of_those_there_are(place: Path) -> None:
    """The loss of a step that left no checkpoint protects nothing, and displaces nothing."""
    for step in (2, 4, 6, 8):
        save(place, step)
    apply_retention(place, run_id=MINE, limit=2, values={3: 0.1, 4: 1.0, 6: 2.0})
    assert steps_left(place) == [4, 8]


def test_milestones_stay_and_do_not_count(place: Path) -> None:
    for step in range(1, 7):
        save(place, step, milestone=step in (1, 4), random=None if step == 1 else {})
    apply_retention(place, run_id=MINE, limit=2, values={})
    assert steps_left(place) == [1, 4, 5, 6]


def test_those_of_other_runs_and_what_cannot_be_read_stay(place: Path) -> None:
    for step in range(1, 9):
        save(place, step, OTHER if step in (1, 8) else MINE)
    shutil.move(place / "step-00000003", place / "damaged-step-00000003")
    (place / "step-00000002" / "state.json").write_text("{")
    (place / "step-00000009").mkdir()
    apply_retention(place, run_id=MINE, limit=2, values={})
    assert steps_left(place) == [1, 2, 6, 7, 8, 9]
    assert (place / "damaged-step-00000003").is_dir()


def test_a_checkpoint_that_cannot_be_deleted_is_kept_and_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    delete = choice.delete_directory

    def refuse(path: Path) -> None:
        if path.name.endswith("2"):
            raise PermissionError(13, "Permission denied")
        delete(path)

    for step in range(1, 6):
        save(place, step)
    monkeypatch.setattr(choice, "delete_directory", refuse)
    with caplog.at_level(logging.WARNING):
        apply_retention(place, run_id=MINE, limit=2, values={})
    assert steps_left(place) == [2, 4, 5]
    assert caplog.messages == [
        f"{place}/step-00000002 cannot be deleted (Permission denied) and is kept"
    ]


def test_after_every_save_there_is_one_to_fall_back_to(place: Path) -> None:
    for step in range(1, 8):
        save(place, step)
        apply_retention(place, run_id=MINE, limit=2, values={})
        harm(shutil.copytree(place / f"step-{step:08d}", place / f"step-{step + 1:08d}"))
        assert used(place) == step
        shutil.rmtree(place / f"damaged-step-{step + 1:08d}")
    assert steps_left(place) == [6, 7]


def test_milestone_that_is_not_needed_any_more_keeps_its_model(tmp_path: Path) -> None:
    """And is whole before that; those of `save_only_model=false` keep everything."""
    for lean in (True, False):
        run = train(
            tiny_experiment(
                "gpt2",
                tmp_path / str(lean),
                "training.save_steps=1",
                "training.save_total_limit=2",
                "training.milestones.steps=[1,3,6]",
                f"training.milestones.save_only_model={str(lean).lower()}",
            )
        ).output_dir
        found = {path.name: path for path in step_directories(run / "checkpoints")}
        whole = {name for name, path in found.items() if (path / "optimizer.safetensors").exists()}
        assert all(find_damage(path) is None for path in found.values())
        assert {f"step-0000000{step}" for step in (1, 3, 6)} <= found.keys()
        assert ("step-00000001" in whole) is not lean
        assert len(whole) == (2 if lean else 3 + 2)
        assert load_model(found["step-00000001"]).get_parameter_count() > 0


def test_checkpoints_that_all_belong_to_another_run_are_not_renamed(place: Path) -> None:
    for step in (1, 2):
        save(place, step)
    with pytest.raises(CheckpointError, match=r"another run than the 4567 of status\.json; delete"):
        newest_usable(place, run_id=OTHER)
    assert steps_left(place) == [1, 2]
