"""`state.json`: everything of a checkpoint that is not a tensor."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from model_foundry.config.error_messages import describe
from model_foundry.errors import CheckpointError
from model_foundry.training.run_fingerprint import RunFingerprint

STATE_FORMAT = 3
STATE_FILE = "state.json"
LARGEST_STATE = 2**24  # bytes; what we write has some thirty thousand


class BestEvaluation(BaseModel):
    """The `Best` of a run, as a checkpoint keeps it."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, from_attributes=True
    )

    metric: str
    value: float
    step: NonNegativeInt


class PlateauCounters(BaseModel):
    """The `Plateau` of a run, as a checkpoint keeps it."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, from_attributes=True
    )

    best: float | None = None
    bad_evaluations: NonNegativeInt = 0
    cooldown: NonNegativeInt = 0
    reductions: NonNegativeInt = 0


class Counters(BaseModel):
    """The counters of `TrainState`, as a checkpoint keeps them."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, from_attributes=True
    )

    step: NonNegativeInt
    examples_seen: NonNegativeInt
    seen: dict[str, NonNegativeInt]
    best: BestEvaluation | None
    evaluations_since_best: NonNegativeInt
    evaluated_step: NonNegativeInt | None = None
    plateau: PlateauCounters = PlateauCounters()


class CheckpointState(BaseModel):
    """Everything of a checkpoint that is not a tensor: `state.json`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    format: int
    run_id: str
    """Id of the run that it belongs to."""
    attempt: int
    """Number of the attempt that wrote it."""
    milestone: bool
    """True if it is kept forever."""
    timed: bool = False
    """True if only the clock asked for it; it is deleted once there are newer ones."""
    counters: Counters
    identity: RunFingerprint
    """Fingerprint of the run."""
    random: dict[str, Any] | None
    """States of Python's and NumPy's generators on rank 0; None: there is only a model."""
    random_of_others: list[dict[str, Any]] = []
    """Those of the other ranks, in their order."""
    scaler: dict[str, int | float] | None
    """State of the gradient scaler under fp16; None without one."""
    train_metrics: list[dict[str, Any]] = []
    """The sums of each training metric since the last line of the log, for each rank in order."""
    log_lines: NonNegativeInt = 0
    """Lines of `metrics.jsonl` up to here."""


class OtherFormatError(CheckpointError):
    """A checkpoint is of a format that this version does not read."""


def read_state(directory: Path) -> CheckpointState:
    """Read `state.json` of a checkpoint.

    Raises:
        OtherFormatError: another version wrote it.
        CheckpointError: it is missing or not what this version writes, or contradicts itself or
            the directory's name.
    """
    path = directory / STATE_FILE
    try:
        # a pipe would block whoever opens it
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_STATE:
            raise OSError("it is missing, no regular file or too large")
        raw = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(raw, dict) and raw.get("format") != STATE_FORMAT:
            raise OtherFormatError(
                f"{path}: has the format {raw.get('format')!r}, and this version reads "
                f"{STATE_FORMAT}"
            )
        state = CheckpointState.model_validate(raw)
    except ValidationError as error:
        field, said = describe(error, CheckpointState)[0]
        raise CheckpointError(f"{path}: {field}: {said}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    counters = state.counters
    if directory.name != f"step-{counters.step:08d}":
        raise CheckpointError(
            f"{path}: is of step {counters.step}, but its directory is of another"
        )
    if counters.examples_seen != counters.step * state.identity.examples_per_step:
        raise CheckpointError(f"{path}: {counters.examples_seen} examples do not make its steps")
    return state


def write_state(directory: Path, facts: CheckpointState) -> None:
    """Write `state.json`; the checkpoint is not committed yet."""
    text = json.dumps(facts.model_dump(mode="json"), indent=1) + "\n"
    (directory / STATE_FILE).write_text(text, encoding="utf-8")
