"""The checkpoints of a run: choice of the one to resume from, and deletion of old ones."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_foundry.errors import CheckpointError, ResumeError
from model_foundry.foundation.atomic_files import delete_directory, find_damage, newer_format
from model_foundry.training.checkpoint.retention import superseded
from model_foundry.training.checkpoint.save_load import keep_only_the_model
from model_foundry.training.checkpoint.state_file import (
    CheckpointState,
    OtherFormatError,
    read_state,
)

logger = logging.getLogger(__name__)

STEP_DIRECTORY = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint on disk."""

    path: Path
    state: CheckpointState

    @property
    def step(self) -> int:
        """Optimizer steps made before it."""
        return self.state.counters.step


def step_directories(place: Path) -> list[Path]:
    """Return the directories of checkpoints, oldest step first, damaged ones included."""
    found = place.iterdir() if place.is_dir() else ()
    named = [path for path in found if STEP_DIRECTORY.fullmatch(path.name)]
    return sorted(named, key=lambda path: int(path.name.removeprefix("step-")))


def newest_usable(place: Path, *, run_id: str | None) -> Checkpoint | None:
    """Return the newest whole checkpoint that a run can resume from; None: none was written.

    Newer ones that are damaged, or belong to another run, are moved aside and reported.

    Args:
        place: the directory of checkpoints.
        run_id: id of the run; None: that of the newest checkpoint.

    Raises:
        CheckpointError: every checkpoint is damaged, or of another format.
        ResumeError: a newer version wrote one.
    """
    aside: list[tuple[Path, str, str]] = []
    usable = None
    for path in reversed(step_directories(place)):
        if (newer := newer_format(path)) is not None:
            raise ResumeError(
                f"{path}: written by a newer version, in format {newer}; update this package"
            )
        try:
            checkpoint = _verified(path)
        except CheckpointError as error:
            kind = "other-format" if isinstance(error, OtherFormatError) else "damaged"
            aside.append((path, kind, str(error)))
            continue
        if run_id is not None and checkpoint.state.run_id != run_id:
            aside.append((path, "other-run", f"{path}: belongs to another run"))
        elif checkpoint.state.random is not None:
            usable = checkpoint
            break
    unread = [(kind, reason) for _, kind, reason in aside if kind != "other-run"]
    if usable is None and unread:
        fault, remedy = _fault_of({kind for kind, _ in unread})
        raise CheckpointError(
            f"{place}: every checkpoint is {fault}; {remedy}, or start again with --fresh, which "
            "moves this run aside" + "".join(f"\n  {reason}" for _, reason in unread)
        )
    if usable is None and aside:
        raise CheckpointError(
            f"{place}: all checkpoints belong to another run than the {run_id} of status.json; "
            "delete that file to resume from them, or start with --fresh to move the run aside"
        )
    for path, kind, reason in aside:
        found, used = _move_aside(path, kind).name, usable and usable.path.name
        logger.warning("%s; renamed to %s; the run resumes from %s", reason, found, used)
    return usable


def _fault_of(kinds: set[str]) -> tuple[str, str]:
    """Return the fault of checkpoints that cannot be read, and its remedy."""
    if kinds == {"damaged"}:
        return "damaged", "restore one from a backup"
    remedy = "resume the run with the version that wrote it"
    return ("damaged or " if "damaged" in kinds else "") + "of another format", remedy


def _verified(path: Path) -> Checkpoint:
    if (fault := find_damage(path)) is not None:
        raise CheckpointError(f"{path}: damaged, {fault}")
    return Checkpoint(path, read_state(path))


def _move_aside(path: Path, kind: str) -> Path:
    target, number = path.with_name(f"{kind}-{path.name}"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{kind}-{path.name}-{number}")
    return path.rename(target)


def apply_retention(
    place: Path,
    *,
    run_id: str,
    limit: int | None,
    values: Mapping[int, float],
    greater_is_better: bool = False,
    lean_milestones: bool = False,
) -> None:
    """Delete the checkpoints of a run that are not needed to resume from any more.

    A milestone is never deleted. A checkpoint that cannot be deleted stays, with a warning.

    Args:
        limit: checkpoints to keep, the newest and the best included; None: all. Timed ones do not
            count, see `superseded`.
        values: the metric by step that decides which checkpoint is the best.
        greater_is_better: True if the best has the largest value, False if the smallest.
        lean_milestones: milestones count too, and are reduced to their model in the end; if not,
            they do not count and keep everything.
    """
    own = _resumable(place, run_id)
    measured = [step for step in own if step in values]
    sign = -1 if greater_is_better else 1
    for step in superseded(
        own,
        milestones=() if lean_milestones else [step for step in own if own[step].milestone],
        timed=[step for step in own if own[step].timed],
        limit=limit,
        best=min(measured, key=lambda step: sign * values[step], default=None),
    ):
        path = place / f"step-{step:08d}"
        try:
            if own[step].milestone:
                keep_only_the_model(path)
            else:
                delete_directory(path)
        except OSError as error:
            logger.warning("%s cannot be deleted (%s) and is kept", path, error.strerror or error)


def _resumable(place: Path, run_id: str) -> dict[int, CheckpointState]:
    """Return the states of the checkpoints that a run can resume from, by step."""
    found = {}
    for path in step_directories(place):
        try:
            state = read_state(path)
        except CheckpointError:
            continue  # reported when it is needed
        if state.run_id == run_id and state.random is not None:
            found[state.counters.step] = state
    return found
