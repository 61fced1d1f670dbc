"""How the processes of an attempt save together, and how they go on from what was saved.

What one checkpoint is made of is decided in `training.checkpoint`; here it is gathered from all
processes, given to main to write, and given back to each.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from model_foundry.architectures import BaseLanguageModel
from model_foundry.config import ExperimentConfig
from model_foundry.experiment.resume import ResumePoint
from model_foundry.experiment.run_directory import Record, RunDirectory
from model_foundry.foundation.process_group import ProcessGroup
from model_foundry.foundation.random_state import random_states, seed_generators, seed_of_process
from model_foundry.training.carried_state import CarriedState
from model_foundry.training.checkpoint.save_load import (
    load_carried,
    load_optimizer,
    load_random_states,
    load_weights,
    save_checkpoint,
)
from model_foundry.training.checkpoint.sharded import ReplicatedState
from model_foundry.training.checkpoint.store import Checkpoint, apply_retention
from model_foundry.training.metrics_log import MetricsLog
from model_foundry.training.run_fingerprint import RunFingerprint
from model_foundry.training.state import TrainState

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """Saves the training of one attempt, and restores it."""

    config: ExperimentConfig
    run: RunDirectory
    tokenizer: PreTrainedTokenizerBase
    identity: RunFingerprint
    start: ResumePoint
    state: TrainState
    log: MetricsLog
    record: Record
    """Writes how far the run has come; it is called after each checkpoint."""
    losses: Mapping[int, float]
    """Validation loss by step, for retention."""
    whole: ReplicatedState
    """Gathers what is divided among the processes."""
    carried: CarriedState | None
    """The states that rows go on from; None: rows stand alone."""
    scaler: torch.amp.GradScaler | None
    """The gradient scaler under fp16; None without one."""
    processes: ProcessGroup

    def save(
        self,
        model: BaseLanguageModel,
        optimizer: torch.optim.Optimizer | None,
        *,
        milestone: bool,
        timed: bool = False,
    ) -> None:
        """Gather what the processes have, and have main write it; see `training.rhythm.Save`."""
        whole = self.whole.gathered(model)
        moments = self.whole.gathered_moments(model, optimizer) if optimizer else None
        carried = self.carried.tensors() if self.carried and optimizer else None
        (_, *others) = self.processes.all_gather(random_states()) if optimizer else (None,)

        def write() -> None:
            self.run.require_held()
            save_checkpoint(
                self.run.checkpoint(self.state.step),
                whole,
                self.tokenizer,
                optimizer=moments,
                state=self.state,
                identity=self.identity,
                run_id=self.start.run_id,
                attempt=self.start.attempt,
                milestone=milestone,
                timed=timed,
                scaler=self.scaler.state_dict() if self.scaler else None,
                log_lines=self.log.lines_before(self.state.step),
                carried=carried,
                random_of_others=others,
            )

        self.processes.on_rank0(write)
        if optimizer is not None:
            self.state.last_good_step = self.state.step
            self.processes.on_rank0(self._conclude)

    def restore(
        self,
        checkpoint: Checkpoint,
        model: BaseLanguageModel,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Give model, optimizer and generators what a checkpoint holds.

        Raises:
            CheckpointError: it is not one of this model.
        """

        def load(model: BaseLanguageModel, optimizer: torch.optim.Optimizer) -> None:
            load_weights(checkpoint.path, model)
            load_optimizer(checkpoint.path, model, optimizer)

        self.whole.restore(load, model, optimizer)
        if self.carried is not None:
            load_carried(checkpoint.path, self.carried)
        if self.scaler and checkpoint.state.scaler:
            self.scaler.load_state_dict(checkpoint.state.scaler)
        # Last: nothing but the next step may draw from them after this.
        for device in self._restore_generators(checkpoint):
            logger.warning("%s has no random state in %s", device, checkpoint.path)

    def _conclude(self) -> None:
        """Write down that there is a checkpoint, and give up those that are needed no more."""
        self.record()
        apply_retention(
            self.run.checkpoints,
            run_id=self.start.run_id,
            limit=self.config.training.save_total_limit,
            losses=self.losses,
            lean_milestones=self.config.training.milestones.save_only_model,
        )

    def _restore_generators(self, checkpoint: Checkpoint) -> list[str]:
        """Put the generators of this process into their states; return devices that had none."""
        process, state = self.processes.rank, checkpoint.state
        if process == 0:
            return load_random_states(checkpoint.path, state)
        if process <= len(state.random_of_others):
            return load_random_states(checkpoint.path, state, process=process)
        seed = self.config.seeds.dropout  # fewer processes wrote it
        seed_generators(seed_of_process(seed, process, step=checkpoint.step))
        return []
