"""Where a start of a run goes on, and whether it may: the same run, or none.

What connects the starts of a run is on disk: the newest whole checkpoint, the status and the log.
"""

import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model_foundry.config import ExperimentConfig
from model_foundry.errors import CheckpointError, ConfigError, DataError, ResumeError
from model_foundry.experiment.prepare_data import Prepared
from model_foundry.experiment.run_directory import RunDirectory, RunStatus
from model_foundry.experiment.run_length import horizon, rows_of_a_pass
from model_foundry.foundation.plugins import LOADED_PLUGINS
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.foundation.random_state import environment
from model_foundry.training.checkpoint.store import Checkpoint, newest_usable
from model_foundry.training.distributed import BatchSplit, split_global_batch, why_indivisible
from model_foundry.training.lr_schedule import learning_rate
from model_foundry.training.run_fingerprint import (
    PLUGIN,
    RunFingerprint,
    as_settings,
    changed_content,
    changed_last_bits,
    changed_settings,
    changes,
    require_horizon,
    require_same,
)
from model_foundry.training.state import TrainState

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResumePoint:
    """Where an attempt begins."""

    run_id: str
    attempt: int
    """1 for the first start of a run."""
    checkpoint: Checkpoint | None
    """What it goes on from; None: the beginning."""
    completed: bool = False
    """Whether the attempt before it came to its end."""

    @classmethod
    def anew(cls) -> "ResumePoint":
        """Return the first start of a new run."""
        return cls(uuid.uuid4().hex, 1, None)

    def state(self) -> TrainState:
        """Return the counters to begin with."""
        if self.checkpoint is None:
            return TrainState()
        counters = self.checkpoint.state.counters
        return TrainState(last_good_step=counters.step, **counters.model_dump())


def find_resume_point(run: RunDirectory, config: ExperimentConfig) -> ResumePoint:
    """Find out where a run goes on; what is no part of it any more is moved aside and named.

    Raises:
        CheckpointError: there were checkpoints, and none is whole.
        ResumeError: a setting that decides what is trained has changed.
    """
    if not run.holds_a_run():
        return ResumePoint.anew()
    run.remove_debris()
    status = _status(run)
    checkpoint = newest_usable(run.checkpoints, run_id=status.run_id if status else None)
    if checkpoint is None and status is not None and status.last_good_step is not None:
        raise CheckpointError(
            f"{run.checkpoints}: the checkpoint of step {status.last_good_step} is gone, and there "
            "is no other; copy one back, or start with --fresh to move the run aside"
        )
    saved = checkpoint.state.identity.config if checkpoint else as_settings(run.config())
    require_same(run.path, changed_settings(saved, as_settings(config)))
    attempts = max(status.attempt if status else 0, checkpoint.state.attempt if checkpoint else 0)
    run_id = checkpoint.state.run_id if checkpoint else status and status.run_id
    completed = status is not None and status.state == "completed"
    return ResumePoint(run_id or uuid.uuid4().hex, attempts + 1, checkpoint, completed)


def _status(run: RunDirectory) -> RunStatus | None:
    """Read the status, without which a run can be resumed all the same."""
    try:
        return run.status()
    except ConfigError as error:
        logger.warning("%s; it is written anew", error)
        return None


def make_fingerprint(
    config: ExperimentConfig, prepared: Prepared, device: torch.device, *, processes: int = 1
) -> RunFingerprint:
    """Say what the run is.

    Args:
        processes: how many there are; their gradients are summed in another order than one's.
    """
    plugins = {f"{PLUGIN}{Path(p).name}": digest for p, digest in LOADED_PLUGINS.items()}
    return RunFingerprint(
        config=as_settings(config),
        content={**prepared.content, **plugins},
        blocks_per_step=config.training.rows_per_step,
        horizon=horizon(config, blocks=rows_of_a_pass(config, len(prepared.train))),
        environment={**environment(device), "processes": str(processes)},
    )


def divide_steps(config: ExperimentConfig, start: ResumePoint, *, processes: int) -> BatchSplit:
    """Divide the global batch, which stays the same, among the processes of this start.

    Raises:
        ConfigError: it cannot be divided evenly.
        ResumeError: nor can that of the run that is there, whose batch cannot change.
    """
    rows, most = config.training.rows_per_step, config.training.per_device_train_batch_size
    reason = why_indivisible(rows, most=most, processes=processes)
    if reason and start.checkpoint is not None:
        raise ResumeError(f"{reason}: the run in output_dir goes on with the steps it began with")
    return split_global_batch(rows, most=most, processes=processes)


def require_one_run(processes: ProcessGroup, identity: RunFingerprint) -> None:
    """Refuse processes that see another text, tokenizer or machine than main does.

    Raises:
        DataError: they would train different models.
    """

    def compared(found: RunFingerprint) -> dict[str, Any]:
        return found.model_dump(exclude={"environment"})

    for index, found in enumerate(seen := processes.all_gather(identity)):
        if different := changes(compared(seen[0]), compared(found)):
            raise DataError(
                f"process {index} of {processes.world_size} sees another experiment than process 0 "
                f"({'; '.join(different)}); give all machines the same files, on a file system "
                "that they share"
            )


def check_resumable(
    run: RunDirectory,
    config: ExperimentConfig,
    checkpoint: Checkpoint | None,
    identity: RunFingerprint,
    *,
    extend: bool,
) -> None:
    """Refuse a run that would not be the same any more; say what differs in its last bits.

    Raises:
        ResumeError: text, tokenizer, global batch or length have changed.
    """
    if checkpoint is None:
        return
    saved = checkpoint.state.identity
    require_same(run.path, changed_content(saved, identity))
    require_horizon(run.path, saved, identity, extend=extend)
    if found := changed_last_bits(saved, identity):
        logger.warning(
            "from here on, the run will not be bit for bit what it would have been (saved -> now): "
            "%s",
            "; ".join(found),
        )
    if saved.horizon != identity.horizon:
        step = checkpoint.step
        before, after = (learning_rate(step, config.training, i.horizon) for i in (saved, identity))
        logger.info(
            "extended from %d to %d steps: the learning rate after step %d is %.3g instead of %.3g",
            *(saved.horizon, identity.horizon, step, after, before),
        )
