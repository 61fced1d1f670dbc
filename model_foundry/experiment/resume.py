"""Resuming: where an attempt at a run starts, and whether it may.

Everything that connects the attempts of a run is on disk: the newest whole checkpoint, the status
and the log.
"""

import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model_foundry.config import ARCHITECTURES, ExperimentConfig
from model_foundry.errors import CheckpointError, ConfigError, DataError, ResumeError
from model_foundry.experiment.run_directory import RunDirectory, RunStatus
from model_foundry.experiment.run_length import total_steps
from model_foundry.foundation.plugins import LOADED_PLUGINS
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.foundation.random_state import environment
from model_foundry.model import compare_with_initial, initial_weights_sha256
from model_foundry.objectives import Prepared
from model_foundry.training.checkpoint.choice import Checkpoint, newest_usable
from model_foundry.training.distributed import split_global_batch, why_indivisible
from model_foundry.training.lr_schedule import learning_rate
from model_foundry.training.plateau import Plateau
from model_foundry.training.run_fingerprint import (
    PLUGIN,
    RunFingerprint,
    as_settings,
    changed_content,
    changed_last_bits,
    changed_settings,
    changes,
    require_length,
    require_same,
)
from model_foundry.training.state import Best, TrainState

logger = logging.getLogger(__name__)

INITIAL = "initial weights"


@dataclass(frozen=True)
class ResumePoint:
    """The start of one attempt."""

    run_id: str
    attempt: int
    """1 for the first attempt of a run."""
    checkpoint: Checkpoint | None
    """Checkpoint to resume from; None: start from the beginning."""
    completed: bool = False
    """True if the attempt before it completed the run."""

    @classmethod
    def fresh(cls) -> "ResumePoint":
        """Return the first attempt of a new run."""
        return cls(uuid.uuid4().hex, 1, None)

    @property
    def path(self) -> Path | None:
        """Directory of the checkpoint; None: start from the beginning."""
        return self.checkpoint.path if self.checkpoint else None

    def state(self) -> TrainState:
        """Return the counters at this point."""
        if self.checkpoint is None:
            return TrainState()
        counters = self.checkpoint.state.counters
        objects = {
            "best": counters.best and Best(**dict(counters.best)),
            "plateau": Plateau(**dict(counters.plateau)),
        }
        return TrainState(last_good_step=counters.step, **(dict(counters) | objects))


def find_resume_point(
    run: RunDirectory, config: ExperimentConfig, *, fresh: bool = False
) -> ResumePoint:
    """Find the checkpoint from which a run resumes; damaged ones are moved aside and reported.

    Args:
        fresh: start a new run whatever is in the directory.

    Raises:
        CheckpointError: there were checkpoints, and none is whole.
        ResumeError: a setting that decides what is trained has changed.
    """
    if fresh or not run.holds_a_run():
        return ResumePoint.fresh()
    run.remove_debris()
    status = _read_status(run)
    checkpoint = newest_usable(run.checkpoints, run_id=status.run_id if status else None)
    if checkpoint is None and status is not None and status.last_good_step is not None:
        raise CheckpointError(
            f"{run.checkpoints}: the checkpoint of step {status.last_good_step} is missing, "
            "and there is no other; restore it from a backup, or start with --fresh to move the "
            "run aside"
        )
    saved = checkpoint.state.identity.config if checkpoint else as_settings(run.config())
    named = config.training.metric_for_best_model is not None
    found = changed_settings(saved, as_settings(config), best_is_named=named)
    require_same(run.path, found)
    attempts = max(status.attempt if status else 0, checkpoint.state.attempt if checkpoint else 0)
    run_id = checkpoint.state.run_id if checkpoint else status and status.run_id
    completed = status is not None and status.state == "completed"
    return ResumePoint(run_id or uuid.uuid4().hex, attempts + 1, checkpoint, completed)


def _read_status(run: RunDirectory) -> RunStatus | None:
    """Read the status; a run can be resumed without it."""
    try:
        return run.status()
    except ConfigError as error:
        logger.warning("%s; it is written again", error)
        return None


def initial_weights(config: ExperimentConfig, start: ResumePoint) -> str | None:
    """Return the SHA-256 of the weights that a run begins with; None: they are random.

    A run that resumes does not read them again, unless another place is named.
    """
    if start.checkpoint is not None:
        saved = start.checkpoint.state.identity
        if (
            saved.config.get("model", {}).get("init_from")
            == as_settings(config)["model"]["init_from"]
        ):
            return saved.content.get(INITIAL)
    else:
        compare_with_initial(config)  # of another form, the model may even exceed the memory
    return initial_weights_sha256(config)


def make_fingerprint(
    config: ExperimentConfig,
    prepared: Prepared,
    device: torch.device,
    *,
    initial: str | None = None,
    world_size: int = 1,
) -> RunFingerprint:
    """Return the fingerprint of a run.

    Args:
        initial: see `initial_weights`.
        world_size: number of processes; it decides the order in which gradients are summed.
    """
    plugins = {f"{PLUGIN}{Path(p).name}": digest for p, digest in LOADED_PLUGINS.items()}
    return RunFingerprint(
        config=as_settings(config),
        content={**prepared.content, **plugins, **({INITIAL: initial} if initial else {})},
        examples_per_step=config.training.rows_per_step,
        total_steps=total_steps(
            config, examples=prepared.objective.examples_per_pass(len(prepared.train))
        ),
        environment={**environment(device), "processes": str(world_size)},
    )


def require_divisible(config: ExperimentConfig, start: ResumePoint, *, world_size: int) -> None:
    """Refuse a number of processes that cannot divide the global batch, which stays the same.

    Raises:
        ConfigError: the settings of a new run; they can be changed.
        ResumeError: the settings of the run to be resumed.
    """
    rows, most = config.training.rows_per_step, config.training.per_device_train_batch_size
    reason = why_indivisible(rows, most=most, world_size=world_size)
    if reason and start.checkpoint is not None:
        raise ResumeError(f"{reason}: the run in output_dir keeps its global batch")
    split_global_batch(rows, most=most, world_size=world_size)


def require_one_run(processes: ProcessGroup, fingerprint: RunFingerprint) -> None:
    """Raise a `DataError` if a process sees another text, tokenizer or experiment than rank 0."""

    def compared(found: RunFingerprint) -> dict[str, Any]:
        return found.model_dump(exclude={"environment"})

    for rank, found in enumerate(seen := processes.all_gather(fingerprint)):
        if different := changes(compared(seen[0]), compared(found)):
            raise DataError(
                f"process {rank} of {processes.world_size} sees another experiment than process 0 "
                f"({'; '.join(different)}); give all machines the same files, on a file system "
                "that they share"
            )


def _require_whole_steps(config: ExperimentConfig, step: int, end: int) -> None:
    """Refuse to extend whole passes of a model that counts, whose last step was cut to them."""
    name = config.model.architecture
    counts = ARCHITECTURES[name].trained_by == "counting"
    if counts and config.training.epochs is not None and step == end:
        raise ResumeError(
            f"--extend: {name!r} has counted its last step only as far as the pass, so that no "
            "pass can follow; start again with --fresh, or set another output_dir"
        )


def check_resumable(
    run: RunDirectory,
    config: ExperimentConfig,
    checkpoint: Checkpoint | None,
    fingerprint: RunFingerprint,
    *,
    extend: bool,
) -> None:
    """Refuse to resume a run whose data or length has changed; warn of changes of the last bits.

    Raises:
        ResumeError: text, tokenizer, global batch or length have changed.
    """
    if checkpoint is None:
        return
    saved = checkpoint.state.identity
    require_same(run.path, changed_content(saved, fingerprint))
    require_length(run.path, saved, fingerprint, extend=extend)
    is_done = checkpoint.step >= fingerprint.total_steps
    if not is_done and (found := changed_last_bits(saved, fingerprint)):
        logger.warning(
            "from here on, the run will not be bit for bit the uninterrupted one (saved -> now): "
            "%s",
            "; ".join(found),
        )
    if saved.total_steps != fingerprint.total_steps:
        step, reductions = checkpoint.step, checkpoint.state.counters.plateau.reductions
        _require_whole_steps(config, step, saved.total_steps)
        before, after = (
            learning_rate(step, config.training, steps, reductions=reductions)
            for steps in (saved.total_steps, fingerprint.total_steps)
        )
        logger.info(
            "extended from %d to %d steps: the learning rate after step %d is %.3g instead of %.3g",
            *(saved.total_steps, fingerprint.total_steps, step, after, before),
        )
